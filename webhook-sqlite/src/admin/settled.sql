-- ?1 kind, ?2 since when. Returns how many events were processed and how many failed since then.
--
-- All columns of the index are named, so that only those events are read.
SELECT count(*) FILTER (WHERE failed = 0), count(*) FILTER (WHERE failed = 1)
FROM outcomes INDEXED BY outcomes_settled
WHERE kind = (SELECT kind FROM kinds WHERE name = ?1)
  AND failed IN (0, 1) AND body_deleted IN (0, 1) AND settled_us >= ?2
