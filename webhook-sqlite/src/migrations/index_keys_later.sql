-- Which events have keys with a hash: all events up to `key_index_state.through_id`, and perhaps some behind it. Keys
-- come in no order, so that each new one would change another page. So they are written here many at once, in the order
-- of their hashes, by the process that accepts the events. Until then, the events are found in its memory, or by
-- reading `events` behind `through_id`.
CREATE TABLE key_index (
  -- `events.key_hash`
  hash INTEGER NOT NULL,
  id   INTEGER NOT NULL,
  PRIMARY KEY (hash, id)
) STRICT, WITHOUT ROWID;

-- One row.
CREATE TABLE key_index_state (
  only       INTEGER PRIMARY KEY CHECK (only = 1),
  through_id INTEGER NOT NULL,
  -- The greatest id of all events that were deleted since this table exists, or 0. If none of those whose keys are
  -- written was deleted, they need not be looked up for that.
  deleted_id INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO key_index_state (only, through_id)
SELECT 1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0);

INSERT INTO key_index (hash, id)
SELECT key_hash, id FROM events INDEXED BY events_key ORDER BY key_hash, id;

DROP INDEX events_key;
