-- The end of each search: of the events `seen`, those that match.
--
-- ?1 to ?3 are those of the beginning. ?4 how many of the events that match are returned, ?5 now. The others are null for
-- all events: ?6 JSON list of kinds, ?7 state, ?8 key, ?9 event type, ?10 beginning of the key, ?11 beginning of the event
-- type, ?12 a part of the reason in lower case, ?13 first and ?14 last time of acceptance, the last excluded.
--
-- Returns at least one row, with how many events were looked at and the least id of them; `id` is null if none matches.
, matching AS MATERIALIZED (
  SELECT seen.id, kinds.name AS kind, event.key, event.fingerprint, event.event_type, event.headers,
         event.accepted_us, item.due_us,
         CASE WHEN item.leased_until_us > ?5 THEN item.leased_until_us END AS leased_until_us,
         outcome.failed, coalesce(outcome.body_deleted, 0) AS body_deleted,
         coalesce(outcome.attempts, item.attempts, 0) AS attempts,
         coalesce(outcome.reason, item.reason) AS reason,
         outcome.settled_us
  FROM seen
  CROSS JOIN events AS event ON event.id = seen.id
  CROSS JOIN kinds ON kinds.kind = event.kind
  LEFT JOIN queue AS item ON item.id = seen.id
  LEFT JOIN outcomes AS outcome ON outcome.id = seen.id
  WHERE (?6 IS NULL OR kinds.name IN (SELECT value FROM json_each(?6)))
    AND (?8 IS NULL OR event.key = ?8)
    AND (?9 IS NULL OR event.event_type = ?9)
    AND (?10 IS NULL OR substr(event.key, 1, length(?10)) = ?10)
    AND (?11 IS NULL OR substr(event.event_type, 1, length(?11)) = ?11)
    AND (?13 IS NULL OR event.accepted_us >= ?13)
    AND (?14 IS NULL OR event.accepted_us < ?14)
    AND (?7 IS NULL OR ?7 = CASE outcome.failed
      WHEN 1 THEN 'FAILED' WHEN 0 THEN 'PROCESSED' ELSE 'PROCESSING' END)
    AND (?12 IS NULL OR instr(lower(coalesce(outcome.reason, item.reason)), ?12) > 0)
  ORDER BY seen.id DESC
  LIMIT ?4
)
SELECT looked_at.examined, looked_at.last_id, matching.*,
       conflict.count AS conflict_count, conflict.last_us AS last_conflict_us
FROM (SELECT count(*) AS examined, min(id) AS last_id FROM seen) AS looked_at
LEFT JOIN matching ON true
LEFT JOIN conflicts AS conflict ON conflict.id = matching.id
ORDER BY matching.id DESC
