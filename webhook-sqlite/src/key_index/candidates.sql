-- ?1 JSON list of hashes of keys, ?2 the last id that memory knows. Returns the hash and the id of each event that has one
-- of these hashes, and in a row without a hash the last id of all events, or null.
SELECT indexed.hash, indexed.id
FROM json_each(?1) AS wanted
CROSS JOIN key_index AS indexed ON indexed.hash = wanted.value
UNION ALL
SELECT key_hash, id FROM events
WHERE id > ?2 AND key_hash IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT NULL, max(id) FROM events
