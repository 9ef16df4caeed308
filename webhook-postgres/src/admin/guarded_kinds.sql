-- Returns the kinds that have events with guards, in ascending order. Reads all guards.
SELECT DISTINCT kind FROM webhook.guards ORDER BY kind
