-- The kinds of which nothing is claimed until they are resumed.
CREATE TABLE webhook.paused_kinds (
  kind      text COLLATE "C" PRIMARY KEY,
  paused_at timestamptz NOT NULL
);
