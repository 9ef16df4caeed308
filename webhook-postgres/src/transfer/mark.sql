-- Returns the part that the inbox has in a move, and the other inbox.
SELECT part, other FROM webhook.move_mark WHERE id = 1
