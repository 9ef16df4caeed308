-- ?1 now, ?2 lease in microseconds, ?3 JSON list of events.
--
-- Events that were lost together are claimed again together, and one that kills its process would use up
-- the attempts of the others as well. A lease that follows a lost one is up to twice as long, at random, so
-- that they are not lost together again.
UPDATE queue
SET leased_until_us = ?1 + ?2
      + CASE WHEN leased_until_us IS NULL THEN 0 ELSE abs(random() % ?2) END,
    attempts = attempts + 1,
    fence = fence + 1
WHERE id IN (SELECT value FROM json_each(?3))
