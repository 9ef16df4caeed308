-- $1 actor, $2 action, $3 target, $4 details, $5 count or null, $6 result, $7 how many records are kept. Returns the id of
-- the record. The oldest records are deleted in passing.
WITH recorded AS (
  INSERT INTO webhook.actions (at, actor, action, target, details, count, result)
  VALUES (statement_timestamp(), $1, $2, $3, $4, $5::bigint, $6)
  RETURNING id
),
old AS (
  DELETE FROM webhook.actions
  WHERE id = ANY (ARRAY(
    SELECT id FROM webhook.actions
    WHERE id <= (SELECT id FROM recorded) - $7::bigint
    ORDER BY id LIMIT 1000
  ))
)
SELECT id FROM recorded
