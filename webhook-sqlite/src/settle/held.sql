-- ?1 JSON list of [event, fencing token]. Returns the place and the row of each lease that is valid.
SELECT lease.key, item.id, item.kind, item.due_us, item.attempts, item.fence, item.reason
FROM json_each(?1) AS lease
CROSS JOIN queue AS item
  ON item.id = lease.value ->> 0 AND item.fence = lease.value ->> 1
WHERE item.leased_until_us IS NOT NULL
ORDER BY lease.key
