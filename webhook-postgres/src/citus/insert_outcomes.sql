-- $1 ids, $2 kinds, $3 attempts, $4 fences. Records that these events are processed.
INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at)
SELECT id, kind, false, attempts, fence, statement_timestamp()
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[])
  AS ended (id, kind, attempts, fence)
