-- ?1 event, ?2 when it is due. Changes a row if the event had failed and has its body; its outcome is deleted next.
INSERT INTO queue (id, kind, due_us, fence)
SELECT id, kind, ?2, fence FROM outcomes WHERE id = ?1 AND failed = 1 AND body_deleted = 0
