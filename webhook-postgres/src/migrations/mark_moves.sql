-- At most one row: the part that this inbox has in a move to another backend. FILLING: events of another inbox
-- are being copied into this one, which is not complete. MOVED: the events are in another inbox now.
-- `webhook-server` does not start with either.
CREATE TABLE webhook.move_mark (
  id    integer PRIMARY KEY CHECK (id = 1),
  part  text NOT NULL,
  -- The URL of the other inbox, without passwords.
  other text NOT NULL,
  since timestamptz NOT NULL
);
