-- What an event reports, as its sender names it; null where the sender does not say.
ALTER TABLE events ADD COLUMN event_type TEXT;

-- Lists of one type read it. Events without a type are not in it, and cost nothing.
CREATE INDEX events_of_type ON events (kind, event_type) WHERE event_type IS NOT NULL;

DROP VIEW inbox;

-- Every event as a row, for those who read with SQL.
CREATE VIEW inbox AS
SELECT
  event.id,
  kinds.name AS kind,
  event.key,
  CASE outcome.failed WHEN 1 THEN 'FAILED' WHEN 0 THEN 'PROCESSED' ELSE 'PROCESSING' END AS status,
  coalesce(outcome.attempts, item.attempts) AS attempts,
  event.accepted_us,
  item.due_us,
  outcome.settled_us,
  coalesce(outcome.reason, item.reason) AS reason,
  coalesce(conflict.count, 0) AS conflict_count,
  conflict.last_us AS last_conflict_us,
  CASE WHEN outcome.body_deleted THEN NULL ELSE event.body END AS body,
  event.event_type
FROM events AS event
JOIN kinds ON kinds.kind = event.kind
LEFT JOIN queue AS item ON item.id = event.id
LEFT JOIN outcomes AS outcome ON outcome.id = event.id
LEFT JOIN conflicts AS conflict ON conflict.id = event.id;
