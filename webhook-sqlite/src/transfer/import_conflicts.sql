-- ?1 JSON list of [event, number of its conflicts, when the last one was received].
INSERT INTO conflicts (id, count, last_us)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)
