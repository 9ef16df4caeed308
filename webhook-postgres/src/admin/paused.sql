-- Returns the paused kinds, in ascending order.
SELECT kind FROM webhook.paused_kinds ORDER BY kind
