-- $1 the mark before, $2 mark. Returns a row if it was the mark before.
UPDATE webhook.partition_mark SET mark = $2
WHERE id = 1 AND mark = $1
RETURNING id
