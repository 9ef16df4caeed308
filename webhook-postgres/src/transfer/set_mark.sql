-- $1 the part that the inbox has in a move, $2 the other inbox.
INSERT INTO webhook.move_mark (id, part, other, since) VALUES (1, $1, $2, statement_timestamp())
ON CONFLICT (id) DO UPDATE SET part = excluded.part, other = excluded.other, since = excluded.since
