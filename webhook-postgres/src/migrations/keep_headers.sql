-- The headers kept with an event: `name:value` and a line feed for each, null where there are none.
ALTER TABLE webhook.events ADD COLUMN headers bytea;
