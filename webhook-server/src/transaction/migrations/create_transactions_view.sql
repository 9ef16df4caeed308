-- The transactions as a table, for those who read with SQL: events of kind `transaction`, whose
-- bodies are JSON objects as delivered.
--
-- A body that was accepted may still hold, in members that nobody asked for, what PostgreSQL's JSON
-- functions refuse: \u0000, a lone surrogate. One such body must not fail a query over all of them.

-- A member's text without the white space around it (Unicode's White_Space).
CREATE FUNCTION webhook.trimmed(member text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT btrim(member, U&'\0009\000A\000B\000C\000D\0020\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000')
$function$;

-- The text with U+FFFD for every escape that stands for no character.
CREATE FUNCTION webhook.without_bad_escapes(body text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
  -- Escape by escape, so that what an escaped backslash precedes is not taken for one: plain text, a
  -- short escape, a pair of surrogates, any other escape.
  SELECT coalesce(string_agg(
    CASE WHEN found[1] ~ '^\\u(0000|[dD][89a-fA-F]..)$' THEN '\ufffd' ELSE found[1] END,
    '' ORDER BY place), '')
  FROM regexp_matches(body,
    '[^\\]+|\\[^u]|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....', 'g')
    WITH ORDINALITY AS token (found, place)
$function$;

-- The fields of a body, without the white space around them. Where it cannot be read, nulls.
CREATE FUNCTION webhook.transaction_fields(
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
  delivered := convert_from(body, 'UTF8');
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

CREATE VIEW webhook.transactions AS
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

COMMENT ON VIEW webhook.transactions IS
  'Every transaction delivered, where it stands, and what was delivered';
