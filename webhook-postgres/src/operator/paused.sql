-- Answers the kinds that are paused, in ascending order.
SELECT kind FROM webhook.paused_kinds ORDER BY kind
