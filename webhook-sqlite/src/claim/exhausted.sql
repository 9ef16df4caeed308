-- ?1 now, ?2 reason of those whose lease expired, ?3 JSON list of events whose attempts are used up, ?4 attempts
-- that an event has; the events are deleted from the queue next. The other reason is that of
-- FailureReason::no_attempts_left.
INSERT INTO outcomes (id, kind, failed, attempts, fence, settled_us, reason)
SELECT id, kind, 1, attempts, fence, ?1,
       CASE WHEN leased_until_us IS NULL
            THEN 'no attempts left: ' || attempts || ' made, ' || ?4 || ' allowed'
            ELSE ?2 END
FROM queue
WHERE id IN (SELECT value FROM json_each(?3))
