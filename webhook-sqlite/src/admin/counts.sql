-- ?1 kind, ?2 now. Returns how many events are leased, due, waiting, processed and failed.
WITH asked AS (SELECT kind FROM kinds WHERE name = ?1)
SELECT
  (SELECT count(*) FROM queue
   WHERE kind = (SELECT kind FROM asked) AND leased_until_us > ?2),
  (SELECT count(*) FROM queue
   WHERE kind = (SELECT kind FROM asked) AND due_us <= ?2
     AND (leased_until_us IS NULL OR leased_until_us <= ?2)),
  (SELECT count(*) FROM queue
   WHERE kind = (SELECT kind FROM asked) AND due_us > ?2
     AND (leased_until_us IS NULL OR leased_until_us <= ?2)),
  (SELECT count(*) FROM outcomes WHERE kind = (SELECT kind FROM asked) AND failed = 0),
  (SELECT count(*) FROM outcomes WHERE kind = (SELECT kind FROM asked) AND failed = 1)
