-- ?1 event, ?2 number of the conflict, ?3 how many bodies of an event are kept, ?4 now, ?5 fingerprint, ?6
-- first bytes of the body, ?7 length of the body.
INSERT OR REPLACE INTO conflict_bodies
  (id, slot, number, received_us, fingerprint, body, body_bytes)
VALUES (?1, ?2 % ?3, ?2, ?4, ?5, ?6, ?7)
