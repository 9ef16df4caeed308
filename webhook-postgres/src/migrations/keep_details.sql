-- What else is known of a failed attempt, such as the answer of a service; null where its handler did not say.
ALTER TABLE webhook.failed_attempts ADD COLUMN details bytea;
