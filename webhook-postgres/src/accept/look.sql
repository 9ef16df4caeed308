-- $1 kinds, $2 keys. Returns the places, ids and fingerprints of the events that exist.
SELECT event.place, stored.id, stored.fingerprint
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS event (kind, key, place)
CROSS JOIN LATERAL (
  SELECT id, fingerprint FROM webhook.events
  WHERE kind = event.kind AND key = event.key
  LIMIT 1
) AS stored
