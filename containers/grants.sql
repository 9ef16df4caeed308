-- Run as webhook_owner after each migration. docs/operating.md has the same statements.
GRANT USAGE ON SCHEMA webhook TO webhook_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA webhook TO webhook_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhook GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO webhook_app;
REVOKE INSERT, UPDATE, DELETE ON webhook.migrations, webhook.line_migrations FROM webhook_app;
