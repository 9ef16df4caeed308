-- ?1 event, ?2 fencing token, ?3 how many failed attempts of an event are kept, ?4 number of the attempt,
-- ?5 when it ended, ?6 reason, ?7 details.
INSERT OR REPLACE INTO failed_attempts (id, slot, fence, attempt, ended_us, reason, details)
VALUES (?1, ?2 % ?3, ?2, ?4, ?5, ?6, ?7)
