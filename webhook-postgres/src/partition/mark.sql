-- Returns which partition of which inbox this is, if it is one.
SELECT mark FROM webhook.partition_mark WHERE id = 1
