-- ?1 when the leases end, ?2 JSON list of events.
UPDATE queue SET leased_until_us = ?1 WHERE id IN (SELECT value FROM json_each(?2))
