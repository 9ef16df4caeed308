-- The beginning of a search for an exact event type, in all of the kinds $5. The end is matching.sql, which describes
-- the parameters. As many events of each kind are looked at as of all.
--
-- Rows are compared whole, and sorted by all columns, so that no other index has the order: one of all events would be
-- read up to its end for a type that is no longer used.
WITH seen AS MATERIALIZED (
  SELECT typed.id
  FROM unnest($5::text[]) AS wanted (kind)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events
    WHERE event_type IS NOT NULL
      AND (kind, event_type, id) < (wanted.kind, $8::text, $1::bigint)
      AND (kind, event_type, id) >= (wanted.kind, $8::text, $2::bigint)
    ORDER BY kind DESC, event_type DESC, id DESC
    LIMIT $3::bigint
  ) AS typed
  ORDER BY typed.id DESC LIMIT $3::bigint
)
