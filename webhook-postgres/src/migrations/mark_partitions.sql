-- At most one row: which partition of which inbox this schema is, as `webhook-core` writes and reads it.
CREATE TABLE webhook.partition_mark (
  id   integer PRIMARY KEY CHECK (id = 1),
  mark text NOT NULL
);
