-- Returns the kind and the key of the event with the greatest id.
SELECT kind, key FROM webhook.events
WHERE id > 0
ORDER BY id DESC LIMIT 1
