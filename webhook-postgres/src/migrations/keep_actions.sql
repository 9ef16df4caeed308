-- Audit records: what operators did. The latest are kept.
CREATE TABLE webhook.actions (
  id      bigint GENERATED ALWAYS AS IDENTITY,
  at      timestamptz NOT NULL,
  actor   text NOT NULL,
  action  text NOT NULL,
  target  text NOT NULL,
  -- JSON, or empty.
  details text NOT NULL,
  -- How many events it applied to, if it is known.
  count   bigint,
  result  text NOT NULL,
  CONSTRAINT actions_id PRIMARY KEY (id)
);
