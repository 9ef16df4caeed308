-- The inbox: what was accepted, what is yet to be processed, and how it ended.
--
-- An event is a row of `events` for as long as it is kept, plus a row of `queue` while it is PROCESSING or
-- a row of `outcomes` once it is PROCESSED or FAILED: always exactly one of the two.
--
-- Times are microseconds since 1970 (`_us`), by the clock that the table `clock` describes.

-- Kinds by number, so that the indexes hold numbers.
CREATE TABLE kinds (
  kind INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

-- Written once. Bodies are kept byte for byte.
CREATE TABLE events (
  -- AUTOINCREMENT: the id of a deleted event is never given to another, since its fencing tokens would
  -- begin again and leases of the deleted event would be valid for the other one.
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  kind        INTEGER NOT NULL,
  key         TEXT NOT NULL,
  -- The first 64 bits of a digest of the kind's name and the key.
  key_hash    INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  -- `name:value` and a line feed for each header, null where there are none.
  headers     BLOB,
  body        BLOB NOT NULL,
  accepted_us INTEGER NOT NULL
) STRICT;

-- Keys arrive in no order, so that each of them changes another page of this index. Hashes make it a half to a
-- tenth as large as keys would: it stays in the cache longer. It is not unique: keys with the same hash are told
-- apart by the one connection that writes, which looks a key up before it inserts it.
CREATE INDEX events_key ON events (key_hash);

-- The schedule: one row per event that is PROCESSING.
CREATE TABLE queue (
  id              INTEGER PRIMARY KEY,
  kind            INTEGER NOT NULL,
  due_us          INTEGER NOT NULL,
  -- When the lease ends or ended; null if it was settled, or if there was none.
  leased_until_us INTEGER,
  -- Attempts that began since the event was accepted or last requeued.
  attempts        INTEGER NOT NULL DEFAULT 0,
  -- The fencing token: it grows with every claim.
  fence           INTEGER NOT NULL DEFAULT 0,
  -- Why the last attempt is repeated.
  reason          TEXT
) STRICT;

-- Claims read it in order of due times. A claim changes no column of it.
CREATE INDEX queue_due ON queue (kind, due_us);

-- One row per event that is PROCESSED or FAILED.
CREATE TABLE outcomes (
  id           INTEGER PRIMARY KEY,
  kind         INTEGER NOT NULL,
  failed       INTEGER NOT NULL,
  body_deleted INTEGER NOT NULL DEFAULT 0,
  attempts     INTEGER NOT NULL,
  -- The last fencing token: a requeue continues with it.
  fence        INTEGER NOT NULL,
  settled_us   INTEGER NOT NULL,
  reason       TEXT
) STRICT;

CREATE INDEX outcomes_settled ON outcomes (kind, failed, body_deleted, settled_us);

-- Few events fail: listing them does not read the others.
CREATE INDEX outcomes_failed ON outcomes (id) WHERE failed = 1;

-- How many deliveries had an event's key and other content.
CREATE TABLE conflicts (
  id      INTEGER PRIMARY KEY,
  count   INTEGER NOT NULL,
  last_us INTEGER NOT NULL
) STRICT;

-- The latest of these deliveries: the one with number n is kept in slot n modulo the number of slots.
CREATE TABLE conflict_bodies (
  id          INTEGER NOT NULL,
  slot        INTEGER NOT NULL,
  number      INTEGER NOT NULL,
  received_us INTEGER NOT NULL,
  fingerprint BLOB NOT NULL,
  -- The first bytes of the body, and the length of all of it.
  body        BLOB NOT NULL,
  body_bytes  INTEGER NOT NULL,
  PRIMARY KEY (id, slot)
) STRICT, WITHOUT ROWID;

-- The latest attempts that failed: the one with fencing token n is kept in slot n modulo the number of
-- slots.
CREATE TABLE failed_attempts (
  id       INTEGER NOT NULL,
  slot     INTEGER NOT NULL,
  fence    INTEGER NOT NULL,
  attempt  INTEGER NOT NULL,
  ended_us INTEGER NOT NULL,
  reason   TEXT NOT NULL,
  PRIMARY KEY (id, slot)
) STRICT, WITHOUT ROWID;

-- The kinds whose events are not claimed until they are resumed. By name: a kind without events can be
-- paused.
CREATE TABLE paused_kinds (
  name      TEXT PRIMARY KEY,
  paused_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- At most one row: the part that this inbox has in a move to another backend. FILLING: events of another inbox
-- are being copied into this one, which is not complete. MOVED: the events are in another inbox now.
-- `webhook-server` does not start with either.
CREATE TABLE move_mark (
  only     INTEGER PRIMARY KEY CHECK (only = 1),
  part     TEXT NOT NULL,
  -- The URL of the other inbox, without passwords.
  other    TEXT NOT NULL,
  since_us INTEGER NOT NULL
) STRICT;

-- One row: the clock of the store. Its time is `offset_us` plus the time since the boot `boot_id`.
-- `floor_us` is a time that has passed, which a clock after another boot does not go behind.
CREATE TABLE clock (
  only      INTEGER PRIMARY KEY CHECK (only = 1),
  boot_id   TEXT NOT NULL,
  offset_us INTEGER NOT NULL,
  floor_us  INTEGER NOT NULL
) STRICT;

-- Every event as a row, for those who read with SQL.
CREATE VIEW inbox AS
SELECT
  event.id,
  kinds.name AS kind,
  event.key,
  CASE outcome.failed WHEN 1 THEN 'FAILED' WHEN 0 THEN 'PROCESSED' ELSE 'PROCESSING' END AS status,
  coalesce(outcome.attempts, item.attempts) AS attempts,
  event.accepted_us,
  item.due_us,
  outcome.settled_us,
  coalesce(outcome.reason, item.reason) AS reason,
  coalesce(conflict.count, 0) AS conflict_count,
  conflict.last_us AS last_conflict_us,
  CASE WHEN outcome.body_deleted THEN NULL ELSE event.body END AS body
FROM events AS event
JOIN kinds ON kinds.kind = event.kind
LEFT JOIN queue AS item ON item.id = event.id
LEFT JOIN outcomes AS outcome ON outcome.id = event.id
LEFT JOIN conflicts AS conflict ON conflict.id = event.id;
