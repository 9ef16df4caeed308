-- ?1 JSON list of [event, fencing token, number of the attempt, when it ended, reason], ?2 how many failed
-- attempts of an event are kept.
INSERT INTO failed_attempts (id, slot, fence, attempt, ended_us, reason)
SELECT value ->> 0, (value ->> 1) % ?2, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each(?1)
