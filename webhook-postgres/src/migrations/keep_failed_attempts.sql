-- The latest attempts at an event that ended badly: the one of fence n is kept in slot n modulo the
-- number of slots.
CREATE TABLE webhook.failed_attempts (
  id       bigint NOT NULL,
  slot     integer NOT NULL,
  fence    bigint NOT NULL,
  attempt  integer NOT NULL,
  ended_at timestamptz NOT NULL,
  reason   text NOT NULL,
  CONSTRAINT failed_attempts_slot PRIMARY KEY (id, slot)
);
