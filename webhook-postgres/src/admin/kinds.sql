-- Returns the kinds of all events, in ascending order.
--
-- It steps from each kind to the next one with two index look-ups, since DISTINCT would read every
-- event. No kind is empty, so '' comes before all of them.
WITH RECURSIVE found (kind) AS (
  SELECT ''::text COLLATE "C"
  UNION ALL
  SELECT next.kind
  FROM found
  CROSS JOIN LATERAL (
    (SELECT kind FROM webhook.queue WHERE kind > found.kind ORDER BY kind LIMIT 1)
    UNION ALL
    (SELECT kind FROM webhook.outcomes WHERE kind > found.kind ORDER BY kind LIMIT 1)
    ORDER BY kind
    LIMIT 1
  ) AS next
)
SELECT kind FROM found WHERE kind <> '' ORDER BY kind
