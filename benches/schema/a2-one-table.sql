-- One table; a claim writes only columns that no index has.
-- @schema
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL, body bytea NOT NULL,
  accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  state smallint NOT NULL DEFAULT 0, due_at timestamptz NOT NULL, lease_until timestamptz,
  attempt int NOT NULL DEFAULT 0, fence bigint NOT NULL DEFAULT 0, settled_at timestamptz, reason text,
  UNIQUE (kind, key))
  WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX ON events (kind, due_at) WHERE state = 0;
-- @accept
\set n random(1, 1000000000000000)
INSERT INTO events (kind, key, fingerprint, body, due_at)
  SELECT 'transaction', 'txn_' || md5((:n::bigint + g)::text), sha256(:n::text::bytea),
         convert_to(repeat('x', 300), 'UTF8'), statement_timestamp()
  FROM generate_series(1, 256) g ORDER BY 1, 2 ON CONFLICT (kind, key) DO NOTHING;
-- @drain
WITH due AS MATERIALIZED (
  SELECT id FROM events WHERE kind = 'transaction' AND state = 0 AND due_at <= statement_timestamp()
    AND (lease_until IS NULL OR lease_until <= statement_timestamp())
  ORDER BY due_at LIMIT 256 FOR UPDATE SKIP LOCKED),
leased AS (
  UPDATE events SET lease_until = statement_timestamp() + interval '2 min', attempt = attempt + 1, fence = fence + 1
  WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING id, fence, body)
SELECT coalesce(array_agg(id), '{}') AS ids, coalesce(array_agg(fence), '{}') AS fences,
  sum(length(body)) AS bytes FROM leased \gset
WITH mine AS MATERIALIZED (
  SELECT q.id FROM unnest(:ids::bigint[], :fences::bigint[]) s(id, fence) JOIN events q USING (id, fence)
  WHERE q.id = ANY (:ids::bigint[]) AND q.state = 0 ORDER BY q.id FOR UPDATE OF q)
UPDATE events SET state = 1, settled_at = statement_timestamp() WHERE id = ANY (ARRAY(SELECT id FROM mine));
