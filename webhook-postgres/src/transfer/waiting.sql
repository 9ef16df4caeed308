-- Returns the sessions that wait for a lock on a table of the inbox. Background processes of the database,
-- such as autovacuum, have no role.
SELECT DISTINCT activity.pid, activity.usename::text AS role,
       coalesce(activity.application_name, '') AS application_name
FROM pg_catalog.pg_locks AS lock
JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = lock.pid
WHERE NOT lock.granted
  AND lock.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND lock.relation IN (
    'webhook.events'::pg_catalog.regclass, 'webhook.queue'::pg_catalog.regclass,
    'webhook.outcomes'::pg_catalog.regclass, 'webhook.conflicts'::pg_catalog.regclass,
    'webhook.paused_kinds'::pg_catalog.regclass)
  AND activity.usename IS NOT NULL
ORDER BY activity.pid
