-- $1 node. Returns whether it was live, if it was there.
DELETE FROM webhook.nodes WHERE id = $1
RETURNING expires_at > statement_timestamp() AS was_live
