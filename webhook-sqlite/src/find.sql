-- ?1 JSON list of [place, kind, key, id], ?2 now. Returns a row, with its place, for each event that exists and has this
-- id and key.
SELECT wanted.value ->> 0 AS place, event.id, event.fingerprint, event.event_type, event.headers, event.body,
       event.accepted_us, item.due_us,
       CASE WHEN item.leased_until_us > ?2 THEN item.leased_until_us END AS leased_until_us,
       outcome.failed, coalesce(outcome.body_deleted, 0) AS body_deleted,
       coalesce(outcome.attempts, item.attempts, 0) AS attempts,
       coalesce(outcome.reason, item.reason) AS reason,
       outcome.settled_us, conflict.count AS conflict_count,
       conflict.last_us AS last_conflict_us
FROM json_each(?1) AS wanted
CROSS JOIN kinds ON kinds.name = wanted.value ->> 1
CROSS JOIN events AS event
  ON event.id = wanted.value ->> 3 AND event.key = wanted.value ->> 2
  AND event.kind = kinds.kind
LEFT JOIN queue AS item ON item.id = event.id
LEFT JOIN outcomes AS outcome ON outcome.id = event.id
LEFT JOIN conflicts AS conflict ON conflict.id = event.id
