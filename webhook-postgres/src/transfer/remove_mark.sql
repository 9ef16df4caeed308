-- Removes the mark of a move.
DELETE FROM webhook.move_mark WHERE id = 1
