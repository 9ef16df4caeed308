-- ?1 JSON list of names of kinds, ?2 now. Returns for each name, in their order, whether the kind is paused,
-- whether one of its events is due and not leased, and when the next event falls due or the next lease on a due
-- event ends.
SELECT
  EXISTS (SELECT 1 FROM paused_kinds WHERE name = wanted.value),
  EXISTS (SELECT 1 FROM queue INDEXED BY queue_due
          WHERE queue.kind = kinds.kind AND due_us <= ?2
            AND (leased_until_us IS NULL OR leased_until_us <= ?2)),
  (SELECT min(next_us) FROM (
     SELECT min(due_us) AS next_us FROM queue INDEXED BY queue_due
     WHERE queue.kind = kinds.kind AND due_us > ?2
     UNION ALL
     SELECT min(leased_until_us) FROM queue INDEXED BY queue_due
     WHERE queue.kind = kinds.kind AND due_us <= ?2 AND leased_until_us > ?2))
FROM json_each(?1) AS wanted
LEFT JOIN kinds ON kinds.name = wanted.value
ORDER BY wanted.key
