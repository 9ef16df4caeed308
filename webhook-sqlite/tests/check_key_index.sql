-- Compares the index of keys with the events. Returns how many events it lacks, and how many keys of events that are gone it
-- has. Both must be 0.
SELECT
  (SELECT count(*) FROM events
   WHERE id <= (SELECT through_id FROM key_index_state)
     AND (key_hash, id) NOT IN (SELECT hash, id FROM key_index)),
  (SELECT count(*) FROM key_index
   WHERE (hash, id) NOT IN (SELECT key_hash, id FROM events))
