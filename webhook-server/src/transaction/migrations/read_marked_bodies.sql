-- The fields of a body, without the white space around them. Where it cannot be read, nulls. A
-- byte-order mark before the JSON text is ignored.
CREATE OR REPLACE FUNCTION webhook.transaction_fields(
  body bytea,
  OUT source_account text,
  OUT destination_account text,
  OUT amount numeric,
  OUT currency text
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  delivered text;
  fields json;
BEGIN
  delivered := convert_from(
    CASE WHEN substr(body, 1, 3) = '\xefbbbf' THEN substr(body, 4) ELSE body END, 'UTF8');
  FOR try IN 1..2 LOOP
    BEGIN
      -- Not jsonb, which would read the numbers of all members.
      fields := delivered::json;
      source_account := webhook.trimmed(fields ->> 'source_account');
      destination_account := webhook.trimmed(fields ->> 'destination_account');
      currency := upper(webhook.trimmed(fields ->> 'currency') COLLATE "C");
      -- The last one, since it may fail for itself.
      amount := webhook.trimmed(fields ->> 'amount')::numeric;
      RETURN;
    EXCEPTION WHEN data_exception THEN
      delivered := webhook.without_bad_escapes(delivered);
    END;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  -- Not even text.
  RETURN;
END
$function$;

-- Built again, so that its operators and functions are looked up on this program's search path: the
-- view may have been created on one that was set for the role or the database.
CREATE OR REPLACE VIEW webhook.transactions AS
SELECT
  event.key AS transaction_id,
  fields.source_account,
  fields.destination_account,
  fields.amount,
  fields.currency,
  CASE outcome.failed WHEN true THEN 'FAILED' WHEN false THEN 'PROCESSED' ELSE 'PROCESSING' END
    AS status,
  event.accepted_at AS created_at,
  coalesce(outcome.settled_at, event.accepted_at) AS updated_at,
  CASE WHEN NOT outcome.failed THEN outcome.settled_at END AS processed_at,
  coalesce(outcome.reason, item.reason) AS error_message,
  coalesce(conflict.count, 0) AS duplicate_conflict_count,
  conflict.last_at AS last_conflict_at
FROM webhook.events AS event
CROSS JOIN LATERAL webhook.transaction_fields(event.body) AS fields
LEFT JOIN webhook.queue AS item ON item.id = event.id
LEFT JOIN webhook.outcomes AS outcome ON outcome.id = event.id
LEFT JOIN webhook.conflicts AS conflict ON conflict.id = event.id
WHERE event.kind = 'transaction';
