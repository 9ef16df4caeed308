-- Returns the kinds of all events, in ascending order.
SELECT name FROM kinds
WHERE EXISTS (SELECT 1 FROM queue WHERE queue.kind = kinds.kind)
   OR EXISTS (SELECT 1 FROM outcomes WHERE outcomes.kind = kinds.kind)
ORDER BY name
