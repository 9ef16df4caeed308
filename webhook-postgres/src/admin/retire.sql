-- $1 node. Returns whether it was live, if it was there.
WITH retired AS (
  DELETE FROM webhook.nodes WHERE id = $1 RETURNING expires_at
)
SELECT expires_at > statement_timestamp() AS was_live FROM retired
