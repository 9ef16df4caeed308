-- $1 ids of new events. Schedules them.
INSERT INTO webhook.queue (id, kind, due_at)
SELECT id, kind, due_at FROM webhook.events WHERE id = ANY ($1::bigint[])
