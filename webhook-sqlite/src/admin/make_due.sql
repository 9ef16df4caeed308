-- ?1 event, ?2 now.
--
-- A lease that ends here is like one that ended by itself: it is not null, so that the next claim records
-- the attempt as lost.
UPDATE queue SET due_us = min(due_us, ?2),
  leased_until_us = CASE WHEN leased_until_us > ?2 THEN ?2 ELSE leased_until_us END
WHERE id = ?1
