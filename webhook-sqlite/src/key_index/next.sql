-- ?1 event, ?2 how many. Returns the hashes of the keys and the ids of the events behind it, in the order of their ids, as
-- JSON: one row of many is read much faster than many rows.
SELECT json_group_array(json_array(key_hash, id))
FROM (SELECT key_hash, id FROM events WHERE id > ?1 ORDER BY id LIMIT ?2)
