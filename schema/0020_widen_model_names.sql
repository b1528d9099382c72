-- 0020_widen_model_names: names of models of up to 255 characters; the ARN of a model on Amazon Bedrock has more than 100.
--
-- A varchar that becomes longer changes the catalog only: no row is rewritten and no index is rebuilt, whatever the size
-- of the table. Views that read the column are dropped and created again in the same transaction, because PostgreSQL
-- changes no type under a view. See docs/adr/0053-longer-model-names.md.
--
-- Where default privileges give somebody new tables, an earlier form of this file gave them the views as well; elsewhere
-- it did the same:
-- ragledger: formerly 5f1f4aa2bf16e1a7e7fc0a9efa42d7445ecf2e633818422c1f0cac9d62ba6714
-- squawk-ignore-file changing-column-type

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Gives model_used room for `most` characters: in ai_dialogue_log with its partitions, and in the copy that a conversion
-- into partitions fills. A column that is wide enough, or text, stays as it is. Views come back with their definition,
-- options, owner, privileges and comments; a view that has more than these is refused by name, and nothing is changed.
CREATE OR REPLACE FUNCTION retype_model_used(most integer) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  retyped CONSTANT oid[] := ARRAY(
    SELECT attrelid
    FROM pg_attribute
    WHERE attrelid IN (to_regclass('ai_dialogue_log'), to_regclass('ai_dialogue_log_new')) AND attname = 'model_used'
      AND atttypid = 'varchar'::regtype AND (atttypmod BETWEEN 5 AND most + 3 OR (most < 255 AND atttypmod = 255 + 4))
  );
  dependents oid[];
  creations text[];
  statement text;
  special text;
BEGIN
  -- The view that others read stands before them.
  WITH RECURSIVE columns AS (
    SELECT attrelid, attnum
    FROM unnest(retyped) AS changed (oid)
    CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(changed.oid) UNION SELECT changed.oid) AS parts
    JOIN pg_attribute ON attrelid = relid AND attname = 'model_used'
  ),
  found AS (
    SELECT ev_class AS oid, 1 AS depth
    FROM columns
    JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
      AND refobjid = attrelid AND refobjsubid = attnum
    JOIN pg_rewrite AS rule ON rule.oid = objid
    UNION
    SELECT ev_class, depth + 1
    FROM found
    JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = found.oid
    JOIN pg_rewrite AS rule ON rule.oid = objid AND ev_class <> found.oid
  )
  SELECT array_agg(ordered.oid ORDER BY ordered.depth) INTO dependents
  FROM (SELECT found.oid, max(found.depth) AS depth FROM found GROUP BY found.oid) AS ordered;

  SELECT class.oid::regclass::text INTO special
  FROM pg_class AS class
  WHERE class.oid = ANY (dependents) AND (
    relkind <> 'v'
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = class.oid)
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = class.oid AND rulename <> '_RETURN')
    OR EXISTS (SELECT FROM pg_attrdef WHERE adrelid = class.oid)
  )
  LIMIT 1;
  IF special IS NOT NULL THEN
    RAISE EXCEPTION '% reads model_used, and cannot be created again as it is', special
      USING ERRCODE = 'dependent_objects_still_exist',
            DETAIL = 'It is no plain view, or has triggers, rules or defaults.',
            HINT = 'Drop it, run this file again, and create it again.';
  END IF;

  SELECT array_agg(creation ORDER BY place, step) INTO creations
  FROM unnest(dependents) WITH ORDINALITY AS view (oid, place)
  JOIN pg_class AS class ON class.oid = view.oid
  CROSS JOIN LATERAL (SELECT view.oid::regclass::text AS name) AS named
  CROSS JOIN LATERAL (
    SELECT 1 AS step, format('CREATE VIEW %s %s AS %s', name,
      'WITH (' || array_to_string(reloptions, ', ') || ')', pg_get_viewdef(view.oid)) AS creation
    UNION ALL
    SELECT 2, format('ALTER VIEW %s OWNER TO %I', name, pg_get_userbyid(relowner))
    WHERE pg_get_userbyid(relowner) <> current_user
    UNION ALL
    -- What default privileges give with the creation, and the view did not have.
    SELECT DISTINCT 3, format('REVOKE ALL ON %s FROM %s', name,
      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM pg_default_acl, aclexplode(defaclacl)
    WHERE defaclrole = to_regrole(quote_ident(current_user)) AND defaclobjtype = 'r'
      AND defaclnamespace IN (0, relnamespace) AND grantee NOT IN (defaclrole, relowner)
    UNION ALL
    SELECT 4, format('GRANT %s ON %s TO %s%s', privilege_type, name,
      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
      CASE WHEN is_grantable AND grantee <> relowner THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM aclexplode(relacl)
    UNION ALL
    SELECT 5, format('GRANT %s (%I) ON %s TO %s%s', privilege_type, attname, name,
      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
      CASE WHEN is_grantable AND grantee <> relowner THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute, aclexplode(attacl)
    WHERE attrelid = view.oid
    UNION ALL
    SELECT 6, CASE objsubid
      WHEN 0 THEN format('COMMENT ON VIEW %s IS %L', name, description)
      ELSE format('COMMENT ON COLUMN %s.%I IS %L', name, attname, description)
    END
    FROM pg_description
    LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
    WHERE objoid = view.oid AND classoid = 'pg_class'::regclass
  ) AS steps;

  FOR place IN REVERSE coalesce(cardinality(dependents), 0) .. 1 LOOP
    EXECUTE format('DROP VIEW %s', dependents[place]::regclass);
  END LOOP;
  FOR place IN 1 .. cardinality(retyped) LOOP
    EXECUTE format('ALTER TABLE %s ALTER COLUMN model_used TYPE VARCHAR(%s)', retyped[place]::regclass, most);
  END LOOP;
  FOREACH statement IN ARRAY coalesce(creations, '{}') LOOP
    EXECUTE statement;
  END LOOP;
END
$$;

COMMENT ON FUNCTION retype_model_used(integer) IS
  'Gives ai_dialogue_log.model_used room for so many characters; views that read it are created again';
REVOKE ALL ON FUNCTION retype_model_used(integer) FROM PUBLIC;

DO $$
BEGIN
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER FUNCTION retype_model_used(integer) OWNER TO ragledger_owner;
  END IF;
END
$$;

SELECT retype_model_used(255);

COMMIT;
