-- The PostgreSQL image runs this once, as the superuser, when it sets up the database. Needs psql 14 or newer.
\getenv owner_password WEBHOOK_OWNER_PASSWORD
\getenv app_password WEBHOOK_APP_PASSWORD
\set ON_ERROR_STOP on

-- The role that migrates, and owns the schema.
CREATE ROLE webhook_owner LOGIN PASSWORD :'owner_password';
-- The role that serves. It may read and write rows.
CREATE ROLE webhook_app LOGIN PASSWORD :'app_password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"DBNAME" TO webhook_owner;
GRANT CONNECT ON DATABASE :"DBNAME" TO webhook_app;

-- The superuser needs no password: it is used only inside the container, over the socket.
ALTER ROLE CURRENT_USER PASSWORD NULL;
