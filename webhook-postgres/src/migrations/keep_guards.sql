-- The guards of events: a delivery with a new key and the guard of an event of its kind is a duplicate.
CREATE TABLE webhook.guards (
  id    bigint NOT NULL,
  kind  text COLLATE "C" NOT NULL,
  guard bytea NOT NULL,
  CONSTRAINT guards_id PRIMARY KEY (id),
  CONSTRAINT guards_once UNIQUE (guard, kind)
) WITH (
  -- No row changes.
  autovacuum_freeze_min_age = 0
);
