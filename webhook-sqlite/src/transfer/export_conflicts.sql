-- ?1 and ?2 the least and the greatest id. Returns the kept conflicts of these events, in order of ids and
-- numbers.
SELECT id, number, received_us, fingerprint, body, body_bytes FROM conflict_bodies
WHERE id BETWEEN ?1 AND ?2
ORDER BY id, number
