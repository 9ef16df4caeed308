-- ?1 name of a kind, ?2 now, ?3 limit. Returns the events that are due and not leased, the longest due first;
-- none if the kind is paused.
--
-- The index is named, since without statistics SQLite might choose another one.
SELECT item.id, item.due_us, item.leased_until_us, item.attempts, item.fence,
       event.key, event.event_type, event.headers, event.body, event.accepted_us
FROM queue AS item INDEXED BY queue_due
CROSS JOIN events AS event ON event.id = item.id
WHERE item.kind = (SELECT kind FROM kinds WHERE name = ?1)
  AND NOT EXISTS (SELECT 1 FROM paused_kinds WHERE name = ?1)
  AND item.due_us <= ?2
  AND (item.leased_until_us IS NULL OR item.leased_until_us <= ?2)
ORDER BY item.due_us, item.id
LIMIT ?3
