-- ?1 event, ?2 when it is due, ?3 attempts, ?4 reason of the last attempt.
UPDATE queue SET leased_until_us = NULL, due_us = ?2, attempts = ?3, reason = ?4
WHERE id = ?1
