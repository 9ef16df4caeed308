-- The transactions as a table, for those who read with SQL: events of kind `transaction`, whose bodies are
-- JSON objects as delivered.
--
-- SQLite has no decimal type: amounts are text, with the digits that the sender wrote. An exponent is applied
-- digit by digit, since a REAL would round. What cannot be read is null.
CREATE VIEW transactions AS
WITH
  constants AS (
    -- Unicode's White_Space.
    SELECT char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200,
                8201, 8202, 8232, 8233, 8239, 8287, 12288) AS blanks
  ),
  bodies AS (
    SELECT
      inbox.*,
      -- A byte-order mark before the JSON text is ignored.
      CAST(CASE WHEN substr(body, 1, 3) = x'efbbbf' THEN substr(body, 4) ELSE body END AS TEXT) AS json
    FROM inbox
    WHERE kind = 'transaction'
  ),
  valid AS (
    SELECT bodies.*, CASE WHEN json_valid(json) THEN json END AS fields FROM bodies
  ),
  members AS (
    SELECT
      valid.*,
      trim(fields ->> '$.source_account', blanks) AS source_account,
      trim(fields ->> '$.destination_account', blanks) AS destination_account,
      upper(trim(fields ->> '$.currency', blanks)) AS currency,
      -- `->` gives a number as it is written, `->>` a string without its quotes and escapes.
      CASE json_type(fields, '$.amount')
        WHEN 'text' THEN trim(fields ->> '$.amount', blanks)
        WHEN 'integer' THEN fields -> '$.amount'
        WHEN 'real' THEN fields -> '$.amount'
      END AS written
    FROM valid CROSS JOIN constants
  ),
  numbers AS (
    SELECT
      members.*,
      CASE WHEN written GLOB '[0-9]*' AND written NOT GLOB '*[^0-9.eE+-]*' THEN lower(written) END AS number
    FROM members
  ),
  exponents AS (
    SELECT
      numbers.*,
      CASE instr(number, 'e') WHEN 0 THEN number ELSE substr(number, 1, instr(number, 'e') - 1) END
        AS mantissa,
      CASE instr(number, 'e') WHEN 0 THEN 0 ELSE CAST(substr(number, instr(number, 'e') + 1) AS INTEGER) END
        AS exponent
    FROM numbers
  ),
  digits AS (
    SELECT
      exponents.*,
      replace(mantissa, '.', '') AS digits,
      -- How many of the digits stand before the point. No transaction has a larger exponent than its body may
      -- have characters.
      CASE WHEN exponent BETWEEN -2097152 AND 2097152 THEN
        exponent + CASE instr(mantissa, '.') WHEN 0 THEN length(mantissa) ELSE instr(mantissa, '.') - 1 END
      END AS point
    FROM exponents
  ),
  padded AS (
    SELECT
      digits.*,
      -- The zeros that are missing before and after the digits.
      substr(hex(zeroblob(max(-point, 0))), 1, max(-point, 0)) AS leading,
      substr(hex(zeroblob(max(point - length(digits), 0))), 1, max(point - length(digits), 0)) AS trailing
    FROM digits
  ),
  parts AS (
    SELECT
      padded.*,
      ltrim(substr(digits, 1, max(point, 0)) || trailing, '0') AS whole,
      leading || substr(digits, max(point, 0) + 1) AS fraction
    FROM padded
  )
SELECT
  key AS transaction_id,
  source_account,
  destination_account,
  CASE whole WHEN '' THEN '0' ELSE whole END || CASE fraction WHEN '' THEN '' ELSE '.' || fraction END
    AS amount,
  currency,
  status,
  strftime('%Y-%m-%dT%H:%M:%fZ', accepted_us / 1000 / 1000.0, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(settled_us, accepted_us) / 1000 / 1000.0, 'unixepoch')
    AS updated_at,
  CASE status
    WHEN 'PROCESSED' THEN strftime('%Y-%m-%dT%H:%M:%fZ', settled_us / 1000 / 1000.0, 'unixepoch')
  END AS processed_at,
  reason AS error_message,
  conflict_count AS duplicate_conflict_count,
  strftime('%Y-%m-%dT%H:%M:%fZ', last_conflict_us / 1000 / 1000.0, 'unixepoch') AS last_conflict_at
FROM parts;
