-- ?1 JSON list of hashes of guards. Returns kind and guard of those that events have with one of these hashes.
SELECT kept.kind, kept.guard
FROM json_each(?1) AS wanted
CROSS JOIN guards AS kept INDEXED BY guards_guard ON kept.guard_hash = wanted.value
