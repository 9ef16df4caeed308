-- ?1 JSON list of hashes of keys. The first row holds the last id that was given out, or null. The others are
-- the events whose keys have one of these hashes: id, kind, key, fingerprint.
SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), NULL, NULL, NULL
UNION ALL
SELECT event.id, event.kind, event.key, event.fingerprint
FROM json_each(?1) AS wanted
CROSS JOIN events AS event INDEXED BY events_key ON event.key_hash = wanted.value
