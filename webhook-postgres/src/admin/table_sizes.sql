-- $1 how many tables are returned at most, the largest first. Returns a row for each table of the schema, with the
-- bytes that it takes with its indexes and what is stored out of line.
SELECT
  class.relname::text AS name,
  coalesce(pg_total_relation_size(class.oid), 0) AS bytes
FROM pg_class AS class
JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
WHERE namespace.nspname = 'webhook' AND class.relkind = 'r'
ORDER BY bytes DESC, name
LIMIT $1::bigint
