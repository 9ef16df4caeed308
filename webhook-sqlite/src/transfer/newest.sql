-- Returns the kind and the key of the event with the greatest id.
SELECT kinds.name AS kind, event.key
FROM events AS event
CROSS JOIN kinds ON kinds.kind = event.kind
ORDER BY event.id DESC LIMIT 1
