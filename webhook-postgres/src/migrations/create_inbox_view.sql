-- Every event as a row, whatever its kind, for those who read with SQL.
CREATE VIEW webhook.inbox AS
SELECT
  event.id,
  event.kind,
  event.key,
  CASE outcome.failed WHEN true THEN 'FAILED' WHEN false THEN 'PROCESSED' ELSE 'PROCESSING' END
    AS status,
  coalesce(outcome.attempts, item.attempts) AS attempts,
  event.accepted_at,
  -- Null once it is settled.
  item.due_at,
  outcome.settled_at,
  coalesce(outcome.reason, item.reason) AS reason,
  coalesce(conflict.count, 0) AS conflict_count,
  conflict.last_at AS last_conflict_at,
  -- Null once it is forgotten.
  CASE WHEN outcome.stripped THEN NULL ELSE event.body END AS body
FROM webhook.events AS event
LEFT JOIN webhook.queue AS item ON item.id = event.id
LEFT JOIN webhook.outcomes AS outcome ON outcome.id = event.id
LEFT JOIN webhook.conflicts AS conflict ON conflict.id = event.id;

COMMENT ON VIEW webhook.inbox IS
  'Every event of every kind, where it stands, and its body as it was delivered';
