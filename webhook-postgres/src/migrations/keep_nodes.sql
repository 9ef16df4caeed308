-- The processes that use the inbox, as they report themselves. Not logged: after a crash of the database it is empty,
-- until each of them reports itself again.
CREATE UNLOGGED TABLE webhook.nodes (
  id           text COLLATE "C" NOT NULL,
  role         text NOT NULL,
  version      text NOT NULL,
  host         text NOT NULL,
  -- How many events it processes at a time at most, and how many it was processing.
  slots        bigint NOT NULL,
  running      bigint NOT NULL,
  -- When it reported itself first and last, and when it counts as gone.
  started_at   timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  expires_at   timestamptz NOT NULL,
  CONSTRAINT nodes_id PRIMARY KEY (id)
) WITH (
  -- Reports change only columns that no index has, and leave their dead rows in the same page.
  fillfactor = 50
);
