-- Keeps other transactions from changing the inbox until the end of this one. In the order in which the
-- statements of the inbox lock the tables.
LOCK TABLE webhook.events, webhook.queue, webhook.outcomes, webhook.conflicts, webhook.conflict_bodies,
  webhook.failed_attempts, webhook.paused_kinds, webhook.guards IN SHARE MODE
