-- $1 name of a schema, $2 how many schemas are returned at most. Returns the schemas with the tables of an inbox that are
-- named so, or so with `_` and a number behind it.
SELECT namespace.nspname::text AS name
FROM pg_namespace AS namespace
JOIN pg_class AS class ON class.relnamespace = namespace.oid
WHERE (namespace.nspname = $1::text
       OR (starts_with(namespace.nspname::text, $1::text || '_')
           AND substr(namespace.nspname::text, length($1::text) + 2) ~ '^[0-9]+$'))
  AND class.relname = 'events' AND class.relkind = 'r'
ORDER BY length(namespace.nspname::text), name
LIMIT $2::bigint
