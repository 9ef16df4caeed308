-- The inbox: what was accepted, what is yet to be processed, and how it ended.
--
-- An event is a row of `events` for as long as it is kept, plus a row of `queue` while it is
-- PROCESSING or a row of `outcomes` once it is PROCESSED or FAILED: always exactly one of the two.
-- `queue` is the only table whose rows change; it is narrow, and short when workers keep up.
-- ARCHITECTURE.md has the measurements behind this split.
--
-- Kinds and keys are compared byte for byte (COLLATE "C"), in every database alike.

-- Written once. Bodies are kept byte for byte.
CREATE TABLE webhook.events (
  id          bigint GENERATED ALWAYS AS IDENTITY,
  kind        text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  fingerprint bytea NOT NULL,
  body        bytea NOT NULL,
  accepted_at timestamptz NOT NULL,
  -- When it first fell due.
  due_at      timestamptz NOT NULL,
  CONSTRAINT events_id PRIMARY KEY (id),
  -- Keys first: they differ where kinds do not, so that most comparisons look at one column.
  CONSTRAINT events_once UNIQUE (key, kind)
) WITH (
  -- No row changes, so a page may be frozen when vacuum first sees it, not in a storm later.
  autovacuum_freeze_min_age = 0
);

-- The schedule: one row per event that is PROCESSING.
CREATE TABLE webhook.queue (
  id          bigint NOT NULL,
  kind        text COLLATE "C" NOT NULL,
  due_at      timestamptz NOT NULL,
  -- Until when somebody holds it, unless it has run out; null while nobody does.
  leased_until timestamptz,
  -- Attempts begun since it was accepted or last requeued.
  attempts    integer NOT NULL DEFAULT 0,
  -- Grows with every claim, for ever.
  fence       bigint NOT NULL DEFAULT 0,
  -- Why the last attempt is to be repeated.
  reason      text,
  CONSTRAINT queue_id PRIMARY KEY (id)
) WITH (
  -- Claims and extends change only columns that no index has: with room left in the page they are
  -- HOT updates, which touch no index and need no vacuum.
  fillfactor = 50,
  -- Every event ends as a dead row here. Vacuum by their number, not by a share of what is
  -- waiting, without pauses, the indexes always included.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_threshold = -1,
  autovacuum_vacuum_cost_delay = 0,
  vacuum_index_cleanup = on,
  -- The queue is about to grow again; cutting its file needs a lock that stops everybody.
  vacuum_truncate = off
);

-- Claims walk it in order of due times. Claimed rows keep their place. The id stays out of it: events
-- accepted together fall due together and share one entry, and a planner that has only seen the
-- queue empty cannot mistake this index for the one to find an id with.
CREATE INDEX queue_due ON webhook.queue (kind, due_at);

-- How an event ended: one row per event that is PROCESSED or FAILED.
CREATE TABLE webhook.outcomes (
  id         bigint NOT NULL,
  kind       text COLLATE "C" NOT NULL,
  failed     boolean NOT NULL,
  attempts   integer NOT NULL,
  -- The last one given out: a requeue goes on from it.
  fence      bigint NOT NULL,
  settled_at timestamptz NOT NULL,
  -- Why it failed.
  reason     text,
  CONSTRAINT outcomes_id PRIMARY KEY (id)
) WITH (
  autovacuum_freeze_min_age = 0
);

-- Pruning takes the oldest first.
CREATE INDEX outcomes_settled ON webhook.outcomes (kind, failed, settled_at);

-- Failures are few among many: listing them must not read the rest.
CREATE INDEX outcomes_failed ON webhook.outcomes (id) WHERE failed;

-- How many deliveries came with an event's key and other content.
CREATE TABLE webhook.conflicts (
  id      bigint NOT NULL,
  count   bigint NOT NULL,
  last_at timestamptz NOT NULL,
  CONSTRAINT conflicts_id PRIMARY KEY (id)
) WITH (
  fillfactor = 80
);

-- The latest of those deliveries: number n is kept in slot n modulo the number of slots.
CREATE TABLE webhook.conflict_bodies (
  id          bigint NOT NULL,
  slot        integer NOT NULL,
  number      bigint NOT NULL,
  received_at timestamptz NOT NULL,
  fingerprint bytea NOT NULL,
  -- Its first bytes, and how many there were.
  body        bytea NOT NULL,
  body_bytes  bigint NOT NULL,
  CONSTRAINT conflict_bodies_slot PRIMARY KEY (id, slot)
);

-- Bodies of more than two kilobytes are compressed with LZ4, where the server has it: that is
-- quicker than writing them as they are. Elsewhere they are not compressed at all, since PostgreSQL's
-- own method takes longer than all the rest of an accept.
DO $$
BEGIN
  EXECUTE 'ALTER TABLE webhook.events ALTER COLUMN body SET COMPRESSION lz4';
  EXECUTE 'ALTER TABLE webhook.conflict_bodies ALTER COLUMN body SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value OR syntax_error THEN
  ALTER TABLE webhook.events ALTER COLUMN body SET STORAGE EXTERNAL;
  ALTER TABLE webhook.conflict_bodies ALTER COLUMN body SET STORAGE EXTERNAL;
END
$$;
