-- $1 kinds, $2 guards. Returns the places of the guards that events have.
SELECT guarded.place
FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS guarded (kind, guard, place)
CROSS JOIN LATERAL (
  SELECT FROM webhook.guards WHERE kind = guarded.kind AND guard = guarded.guard LIMIT 1
) AS stored
