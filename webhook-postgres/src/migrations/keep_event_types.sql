-- What an event reports, as its sender names it; null where the sender does not say.
ALTER TABLE webhook.events ADD COLUMN event_type text COLLATE "C";

-- Lists of one type read it in order of the ids. Events without a type are not in it, and cost nothing.
CREATE INDEX events_of_type ON webhook.events (kind, event_type, id) WHERE event_type IS NOT NULL;

-- The column comes last, since the columns of a view cannot move.
CREATE OR REPLACE VIEW webhook.inbox AS
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
  -- Null once it is deleted.
  CASE WHEN outcome.stripped THEN NULL ELSE event.body END AS body,
  event.event_type
FROM webhook.events AS event
LEFT JOIN webhook.queue AS item ON item.id = event.id
LEFT JOIN webhook.outcomes AS outcome ON outcome.id = event.id
LEFT JOIN webhook.conflicts AS conflict ON conflict.id = event.id;
