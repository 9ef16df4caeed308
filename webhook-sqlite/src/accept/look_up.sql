-- ?1 JSON list of hashes of keys, ?2 JSON list of ids of events that the index may not have. Returns the events whose keys
-- have one of these hashes: id, kind, key, fingerprint. Some may be returned twice.
SELECT event.id, event.kind, event.key, event.fingerprint
FROM json_each(?1) AS wanted
CROSS JOIN key_index AS indexed ON indexed.hash = wanted.value
CROSS JOIN events AS event ON event.id = indexed.id
UNION ALL
SELECT event.id, event.kind, event.key, event.fingerprint
FROM json_each(?2) AS recent
CROSS JOIN events AS event ON event.id = recent.value
