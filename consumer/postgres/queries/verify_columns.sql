-- Every column of the named tables: its type, followed by "not null" if this applies, and its comment.
SELECT
  named.name AS table_name,
  a.attname::text AS name,
  format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END AS type,
  col_description(a.attrelid, a.attnum) AS comment
FROM unnest($1::text[]) AS named (name)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(named.name) AND a.attnum > 0 AND NOT a.attisdropped
