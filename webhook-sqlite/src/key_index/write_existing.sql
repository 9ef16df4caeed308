-- ?1 event. Writes its key to the index, if it still exists and is not in it.
INSERT OR IGNORE INTO key_index (hash, id) SELECT key_hash, id FROM events WHERE id = ?1
