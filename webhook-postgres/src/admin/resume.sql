-- $1 kind. Returns a row if the kind was paused.
DELETE FROM webhook.paused_kinds WHERE kind = $1
RETURNING kind
