-- ?1 kind, ?2 1 for failed events, ?3 1 for those without bodies, ?4 settled until when, ?5 limit. Returns
-- the events that were settled first.
SELECT id FROM outcomes INDEXED BY outcomes_settled
WHERE kind = ?1 AND failed = ?2 AND body_deleted = ?3 AND settled_us <= ?4
ORDER BY settled_us LIMIT ?5
