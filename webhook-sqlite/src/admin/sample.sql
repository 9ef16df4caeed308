-- ?1 kind, ?2 now, ?3 how many events of each sort are counted at most. Returns one row.
WITH asked AS (SELECT kind FROM kinds WHERE name = ?1)
SELECT
  due.count AS due,
  due.leased + waiting.leased AS leased,
  waiting.count AS waiting,
  (SELECT count(*) FROM (
    SELECT 1 FROM outcomes INDEXED BY outcomes_settled
    WHERE kind = (SELECT kind FROM asked) AND failed = 1 LIMIT ?3)) AS failed,
  (SELECT due_us FROM queue INDEXED BY queue_due
   WHERE kind = (SELECT kind FROM asked) AND due_us <= ?2
     AND (leased_until_us IS NULL OR leased_until_us <= ?2)
   ORDER BY due_us LIMIT 1) AS oldest_due_us,
  EXISTS (SELECT 1 FROM paused_kinds WHERE name = ?1) AS paused
FROM
  (SELECT count(*) FILTER (WHERE leased_until_us > ?2) AS leased,
          count(*) FILTER (WHERE leased_until_us IS NULL OR leased_until_us <= ?2) AS count
   FROM (SELECT leased_until_us FROM queue INDEXED BY queue_due
         WHERE kind = (SELECT kind FROM asked) AND due_us <= ?2 ORDER BY due_us LIMIT ?3)) AS due,
  (SELECT count(*) FILTER (WHERE leased_until_us > ?2) AS leased,
          count(*) FILTER (WHERE leased_until_us IS NULL OR leased_until_us <= ?2) AS count
   FROM (SELECT leased_until_us FROM queue INDEXED BY queue_due
         WHERE kind = (SELECT kind FROM asked) AND due_us > ?2 ORDER BY due_us LIMIT ?3)) AS waiting
