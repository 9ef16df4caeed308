-- $1 ids, $2 kinds, $3 guards.
INSERT INTO webhook.guards (id, kind, guard)
SELECT id, kind, guard FROM unnest($1::bigint[], $2::text[], $3::bytea[]) AS kept (id, kind, guard)
