-- Returns a row for each reason why the schema `webhook` is unsafe to use: what it is, its name and what to do;
-- and whether the only reason is the owner. A role that only uses the tables need not trust the owner. A role
-- that may create schemas must, since it would have created this schema itself if another role had not done so
-- before.
WITH schema AS (
  SELECT oid, nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'webhook'
),
trusted AS (
  SELECT role.oid FROM pg_catalog.pg_roles AS role
  WHERE role.rolsuper
     OR pg_catalog.pg_has_role(current_user, role.oid, 'USAGE')
     OR role.oid = (SELECT datdba FROM pg_catalog.pg_database
                    WHERE datname = pg_catalog.current_database())
),
user_of_tables (needs_no_trust) AS (
  SELECT NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
),
relation AS (
  SELECT class.* FROM pg_catalog.pg_class AS class JOIN schema ON class.relnamespace = schema.oid
),
-- The app may add objects to a migrated schema: a role named `webhook` creates its tables there, since the
-- search path begins with the schema that has the name of the role.
migrated (is_so) AS (
  SELECT EXISTS (
    SELECT FROM relation JOIN pg_catalog.pg_attribute ON attrelid = relation.oid
    WHERE relname = 'migrations' AND attname = 'version' AND NOT attisdropped
      AND atttypid = 'pg_catalog.int4'::pg_catalog.regtype)
),
ours (name) AS (
  VALUES ('migrations'), ('events'), ('queue'), ('outcomes'), ('conflicts'), ('conflict_bodies'),
         ('failed_attempts'), ('inbox'), ('line_migrations'), ('paused_kinds'), ('move_mark'),
         ('guards'), ('nodes'), ('actions'), ('partition_mark')
)
SELECT 'it belongs to the role ' || pg_catalog.pg_get_userbyid(nspowner)
       || ', which this role is no member of; to trust it, give it to the role that migrates: '
       || 'ALTER SCHEMA webhook OWNER TO …' AS detail,
       needs_no_trust AS by_owner
FROM user_of_tables, schema WHERE nspowner NOT IN (SELECT oid FROM trusted)
UNION ALL
SELECT 'the relation webhook.' || relname || ' belongs to the role '
       || pg_catalog.pg_get_userbyid(relowner) || ', which this role is no member of', needs_no_trust
FROM user_of_tables, relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relowner NOT IN (SELECT oid FROM trusted)
UNION ALL
SELECT 'the relation webhook.' || relname || ' is another program''s: move or drop it', false
FROM relation, migrated
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
  AND CASE WHEN relname IN (SELECT name FROM ours)
           THEN relkind <> CASE relname WHEN 'inbox' THEN 'v' ELSE 'r' END
           ELSE NOT migrated.is_so END
UNION ALL
SELECT 'the trigger ' || tgname || ' is on webhook.' || relname || ': drop it', false
FROM pg_catalog.pg_trigger JOIN relation ON tgrelid = relation.oid WHERE NOT tgisinternal AND relname IN (SELECT name FROM ours)
UNION ALL
SELECT 'the rule ' || rulename || ' is on webhook.' || relname || ': drop it', false
FROM pg_catalog.pg_rewrite JOIN relation ON ev_class = relation.oid WHERE rulename <> '_RETURN' AND relname IN (SELECT name FROM ours)
UNION ALL
SELECT 'the row security policy ' || polname || ' is on webhook.' || relname || ': drop it', false
FROM pg_catalog.pg_policy JOIN relation ON polrelid = relation.oid
WHERE relname IN (SELECT name FROM ours)
UNION ALL
SELECT 'row security is enabled on webhook.' || relname || ': disable it', false
FROM relation WHERE relrowsecurity AND relname IN (SELECT name FROM ours)
UNION ALL
SELECT 'a table inherits from webhook.' || relname || ': drop it', false
FROM pg_catalog.pg_inherits JOIN relation ON inhparent = relation.oid WHERE relkind = 'r' AND relname IN (SELECT name FROM ours)
UNION ALL
SELECT 'the function webhook.' || proname || ' is another program''s: move or drop it', false
FROM migrated, pg_catalog.pg_proc JOIN schema ON pronamespace = schema.oid
WHERE NOT migrated.is_so
UNION ALL
SELECT 'the function webhook.' || proname || ' belongs to the role '
       || pg_catalog.pg_get_userbyid(proowner) || ', which this role is no member of', needs_no_trust
FROM user_of_tables, pg_catalog.pg_proc JOIN schema ON pronamespace = schema.oid
WHERE proowner NOT IN (SELECT oid FROM trusted)
UNION ALL
SELECT 'the table webhook.migrations is another program''s, since it has no integer column `version`: '
       || 'move or drop it', false
FROM relation, migrated
WHERE relname = 'migrations' AND NOT migrated.is_so
ORDER BY detail
