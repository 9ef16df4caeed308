-- ?1 the part that the inbox has in a move, ?2 the other inbox, ?3 now.
INSERT OR REPLACE INTO move_mark (only, part, other, since_us) VALUES (1, ?1, ?2, ?3)
