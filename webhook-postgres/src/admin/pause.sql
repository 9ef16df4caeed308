-- $1 kind. Returns a row if the kind was not paused before.
INSERT INTO webhook.paused_kinds (kind, paused_at)
VALUES ($1, statement_timestamp())
ON CONFLICT (kind) DO NOTHING
RETURNING kind
