-- Run once by the PostgreSQL image, as the superuser, when it sets the database up. psql 14 or newer.
\getenv owner_password WEBHOOK_OWNER_PASSWORD
\getenv app_password WEBHOOK_APP_PASSWORD
\set ON_ERROR_STOP on

-- Migrates, and owns the schema.
CREATE ROLE webhook_owner LOGIN PASSWORD :'owner_password';
-- Serves: rows only.
CREATE ROLE webhook_app LOGIN PASSWORD :'app_password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"DBNAME" TO webhook_owner;
GRANT CONNECT ON DATABASE :"DBNAME" TO webhook_app;

-- The superuser needs no password: it is used inside the container alone, over the socket.
ALTER ROLE CURRENT_USER PASSWORD NULL;
