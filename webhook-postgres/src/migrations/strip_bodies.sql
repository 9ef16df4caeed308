-- The body of an event that was processed may be forgotten while its key is kept: then it is empty.
ALTER TABLE webhook.outcomes ADD COLUMN stripped boolean NOT NULL DEFAULT false;

-- What is stripped already is not to be read again by whoever strips.
DROP INDEX webhook.outcomes_settled;
CREATE INDEX outcomes_settled ON webhook.outcomes (kind, failed, stripped, settled_at);
