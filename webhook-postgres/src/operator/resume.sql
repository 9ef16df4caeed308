-- $1 kind. Answers a row if it was paused.
DELETE FROM webhook.paused_kinds WHERE kind = $1
RETURNING kind
