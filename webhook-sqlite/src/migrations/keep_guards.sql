-- The guards of events: a delivery with a new key and the guard of an event of its kind is a duplicate.
CREATE TABLE guards (
  id         INTEGER PRIMARY KEY,
  kind       INTEGER NOT NULL,
  guard      BLOB NOT NULL,
  -- The first 64 bits of a digest of the kind's name and the guard.
  guard_hash INTEGER NOT NULL
) STRICT;

-- By hash and not unique, for the same reasons as `events_key`.
CREATE INDEX guards_guard ON guards (guard_hash);
