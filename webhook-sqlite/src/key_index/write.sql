-- ?1 hash of a key, ?2 the event that has it. Writes it to the index, if it is not in it.
INSERT OR IGNORE INTO key_index (hash, id) VALUES (?1, ?2)
