-- ?1 and ?2 the least and the greatest id. Returns the kept failed attempts of these events, in order of ids
-- and fencing tokens.
SELECT id, fence, attempt, ended_us, reason, details FROM failed_attempts
WHERE id BETWEEN ?1 AND ?2
ORDER BY id, fence
