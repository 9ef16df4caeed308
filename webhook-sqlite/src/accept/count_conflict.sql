-- ?1 event, ?2 now. Returns how many conflicts the event has with this one.
INSERT INTO conflicts (id, count, last_us) VALUES (?1, 1, ?2)
ON CONFLICT (id) DO UPDATE SET count = count + 1, last_us = max(last_us, excluded.last_us)
RETURNING count
