-- As c3, with an index that serves pruning.
-- @schema
CREATE TABLE events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL, body bytea NOT NULL,
  accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (kind, key));
CREATE TABLE queue (
  id bigint PRIMARY KEY, kind text COLLATE "C" NOT NULL, due_at timestamptz NOT NULL,
  lease_until timestamptz, attempt int NOT NULL DEFAULT 0, fence bigint NOT NULL DEFAULT 0,
  reason text) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX ON queue (kind, due_at);
CREATE TABLE outcomes (
  id bigint PRIMARY KEY, kind text COLLATE "C" NOT NULL, failed boolean NOT NULL,
  attempts int NOT NULL, fence bigint NOT NULL, settled_at timestamptz NOT NULL, reason text);
CREATE INDEX ON outcomes (kind, failed, settled_at);
-- @accept
\set n random(1, 1000000000000000)
WITH new AS (
  INSERT INTO events (kind, key, fingerprint, body)
  SELECT 'transaction', 'txn_' || md5((:n::bigint + g)::text), sha256(:n::text::bytea),
         convert_to(repeat('x', 300), 'UTF8')
  FROM generate_series(1, 256) g ORDER BY 1, 2 ON CONFLICT (kind, key) DO NOTHING
  RETURNING id, kind)
INSERT INTO queue (id, kind, due_at) SELECT id, kind, statement_timestamp() FROM new;
-- @drain
WITH due AS MATERIALIZED (
  SELECT id FROM queue WHERE kind = 'transaction' AND due_at <= statement_timestamp()
    AND (lease_until IS NULL OR lease_until <= statement_timestamp())
    AND due_at >= :floor::timestamptz
  ORDER BY due_at LIMIT 256 FOR UPDATE SKIP LOCKED),
leased AS (
  UPDATE queue SET lease_until = statement_timestamp() + interval '2 min', attempt = attempt + 1, fence = fence + 1
  WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING id, fence, due_at)
SELECT coalesce(array_agg(id), '{}') AS ids, coalesce(array_agg(fence), '{}') AS fences,
  sum(length(e.body)) AS bytes,
  coalesce(min(due_at)::text, '-infinity') AS floor FROM leased JOIN events e USING (id) \gset
WITH mine AS MATERIALIZED (
  SELECT q.id FROM unnest(:ids::bigint[], :fences::bigint[]) s(id, fence) JOIN queue q USING (id, fence)
  WHERE q.id = ANY (:ids::bigint[]) ORDER BY q.id FOR UPDATE OF q),
gone AS (DELETE FROM queue WHERE id = ANY (ARRAY(SELECT id FROM mine)) RETURNING id, kind, attempt, fence)
INSERT INTO outcomes SELECT id, kind, false, attempt, fence, statement_timestamp() FROM gone;
