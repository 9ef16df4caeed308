-- The beginning of a search for an exact event type, in all of the kinds $5. The end is matching.sql, which describes
-- the parameters. As many events of each kind are looked at as of all.
--
-- Sorted by the kind, too, and the kind compared with an array: so no index of all events has the order, which the planner
-- might read up to its end for a type that is no longer used. A comparison of whole rows would do the same, but it reads
-- on to the end of the kind once the type has ended.
WITH seen AS MATERIALIZED (
  SELECT typed.id
  FROM unnest($5::text[]) AS wanted (kind)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events
    WHERE kind = ANY (ARRAY[wanted.kind]) AND event_type = $8::text
      AND id < $1::bigint AND id >= $2::bigint
    ORDER BY kind DESC, id DESC
    LIMIT $3::bigint
  ) AS typed
  ORDER BY typed.id DESC LIMIT $3::bigint
)
