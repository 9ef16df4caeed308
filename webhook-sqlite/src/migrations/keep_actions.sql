-- Audit records: what operators did. The latest are kept.
CREATE TABLE actions (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at_us   INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  target  TEXT NOT NULL,
  -- JSON, or empty.
  details TEXT NOT NULL,
  -- How many events it applied to, if it is known.
  count   INTEGER,
  result  TEXT NOT NULL
) STRICT;
