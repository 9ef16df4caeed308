-- $1 mark. Returns a row if there was none before.
INSERT INTO webhook.partition_mark (id, mark) VALUES (1, $1)
ON CONFLICT (id) DO NOTHING
RETURNING id
