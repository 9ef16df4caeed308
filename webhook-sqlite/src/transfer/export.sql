-- ?1 the id after which to begin, ?2 the largest number of events, ?3 the largest size of their bodies and
-- details in bytes, which the last event may exceed. Returns the events in order of their ids.
--
-- The length of stored bytes is known without reading them.
WITH page AS MATERIALIZED (
  SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before
  FROM (
    SELECT id, length(body)
      + (SELECT coalesce(sum(length(details)), 0) FROM failed_attempts AS failed WHERE failed.id = events.id)
      AS bytes
    FROM events WHERE id > ?1 ORDER BY id LIMIT ?2
  )
)
SELECT event.id, kinds.name AS kind, event.key, event.fingerprint, event.event_type, event.headers, event.body,
       event.accepted_us, item.due_us, item.leased_until_us,
       outcome.failed, coalesce(outcome.body_deleted, 0) AS body_deleted,
       coalesce(outcome.attempts, item.attempts, 0) AS attempts,
       coalesce(outcome.fence, item.fence, 0) AS fence,
       coalesce(outcome.reason, item.reason) AS reason,
       outcome.settled_us, conflict.count AS conflict_count,
       conflict.last_us AS last_conflict_us, kept.guard
FROM page
CROSS JOIN events AS event ON event.id = page.id
CROSS JOIN kinds ON kinds.kind = event.kind
LEFT JOIN queue AS item ON item.id = event.id
LEFT JOIN outcomes AS outcome ON outcome.id = event.id
LEFT JOIN conflicts AS conflict ON conflict.id = event.id
LEFT JOIN guards AS kept ON kept.id = event.id
WHERE page.bytes_before <= ?3
ORDER BY page.id
