-- ?1 JSON list of [place, kind number, key]. Returns the place, id and fingerprint of each event that
-- exists.
SELECT wanted.value ->> 0, event.id, event.fingerprint
FROM json_each(?1) AS wanted
CROSS JOIN events AS event
  ON event.key = wanted.value ->> 2 AND event.kind = wanted.value ->> 1
