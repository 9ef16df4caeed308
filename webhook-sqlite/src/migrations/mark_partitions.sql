-- At most one row: which partition of which inbox this file is, as `webhook-core` writes and reads it.
CREATE TABLE partition_mark (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  mark TEXT NOT NULL
) STRICT;
