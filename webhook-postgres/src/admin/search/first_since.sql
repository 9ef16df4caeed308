-- $1 times in microseconds since 1970. Returns, for each with its place, the least id of an event that was accepted then
-- or later; an id greater than all if there is none.
--
-- Ids ascend with these times, so each step halves the ids among which it is. There is no index of times, which every
-- accept would have to write.
SELECT wanted.place, found.id
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (at_us, place)
CROSS JOIN LATERAL (
  WITH RECURSIVE between (low, high) AS (
    SELECT 0::bigint, coalesce(
      (SELECT id FROM webhook.events WHERE id > 0 ORDER BY id DESC LIMIT 1), 0) + 1
    UNION ALL
    SELECT
      CASE WHEN probe.is_before THEN probe.id + 1 ELSE between.low END,
      CASE WHEN probe.is_before THEN between.high ELSE middle.id END
    FROM between
    CROSS JOIN LATERAL (SELECT between.low + (between.high - between.low) / 2 AS id) AS middle
    LEFT JOIN LATERAL (
      SELECT event.id,
             event.id < between.high
               AND event.accepted_at < 'epoch'::timestamptz + wanted.at_us * interval '1 microsecond'
               AS is_before
      FROM webhook.events AS event
      WHERE event.id >= middle.id ORDER BY event.id LIMIT 1
    ) AS probe ON true
    WHERE between.low < between.high
  )
  SELECT low AS id FROM between WHERE low = high
) AS found
