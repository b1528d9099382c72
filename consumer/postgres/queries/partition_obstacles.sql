-- Obstacles to converting ai_dialogue_log, one sentence for each row.
WITH old AS (
    SELECT oid, relowner, reltype, relreplident FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
)
SELECT format('%I does not own it: run this as %I', current_user, pg_get_userbyid(relowner)) AS obstacle
FROM old WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT format('row-level security hides rows from %I, even as its owner: run this as a role with BYPASSRLS', current_user)
FROM old WHERE row_security_active(oid)
UNION ALL
SELECT 'its primary key must be (id) and nothing else'
FROM old WHERE NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = old.oid AND contype = 'p'
      AND pg_get_constraintdef(pg_constraint.oid) = 'PRIMARY KEY (id)'
)
UNION ALL
SELECT 'created_at must be a TIMESTAMP without time zone, NOT NULL'
FROM old WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = old.oid AND attname = 'created_at' AND atttypid = 'timestamp'::regtype AND attnotnull
)
UNION ALL
SELECT format('%s refers to it (%I): no foreign key can refer to an id of a partitioned table; drop it', conrelid::regclass, conname)
FROM old JOIN pg_constraint ON confrelid = old.oid AND contype = 'f'
UNION ALL
SELECT format('%I is not validated: ALTER TABLE ai_dialogue_log VALIDATE CONSTRAINT %1$I', conname)
FROM old JOIN pg_constraint ON conrelid = old.oid AND contype IN ('c', 'f') AND NOT convalidated
UNION ALL
SELECT format('%I cannot be kept across partitions: drop the constraint', conname)
FROM old JOIN pg_constraint ON conrelid = old.oid AND (contype = 'x' OR connoinherit AND contype = 'c')
UNION ALL
SELECT format('%s cannot be unique across partitions without created_at: drop it', indexrelid::regclass)
FROM old JOIN pg_index ON indrelid = old.oid
WHERE indisunique AND NOT indisprimary AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = old.oid AND attname = 'created_at' AND attnum = ANY (indkey)
)
UNION ALL
SELECT format('%s is invalid, its build did not finish: drop it, or run `ragledger migrate up`', indexrelid::regclass)
FROM old JOIN pg_index ON indrelid = old.oid WHERE NOT indisvalid
UNION ALL
SELECT format('column %I is an identity column, which partitions of PostgreSQL before 17 cannot have', attname)
FROM old JOIN pg_attribute ON attrelid = old.oid AND attidentity <> ''
UNION ALL
SELECT format('%s inherits from it, or it from that', CASE inhparent WHEN old.oid THEN inhrelid ELSE inhparent END::regclass)
FROM old JOIN pg_inherits ON old.oid IN (inhparent, inhrelid)
UNION ALL
SELECT format('publication %I has it: subscribers would not know the partitions; take it out and put it back afterwards', pubname)
FROM old JOIN pg_publication ON EXISTS (
    SELECT FROM pg_get_publication_tables(pubname) AS published WHERE published.relid = old.oid
)
UNION ALL
SELECT 'its replica identity is not its primary key: ALTER TABLE ai_dialogue_log REPLICA IDENTITY DEFAULT'
FROM old WHERE relreplident <> 'd'
UNION ALL
SELECT format('trigger %I is one that a partitioned table cannot have', tgname)
FROM old JOIN pg_trigger ON tgrelid = old.oid AND NOT tgisinternal
WHERE tgname NOT LIKE 'mirror_ai_dialogue_log_%'
  AND tgtype & 1 = 1 AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)
UNION ALL
SELECT format('rule %I: a partitioned table is read and written without it', rulename)
FROM old JOIN pg_rewrite ON ev_class = old.oid
UNION ALL
SELECT format('view %s belongs to %I, and has to be made again: run this as a role that is both', view.oid::regclass, pg_get_userbyid(view.relowner))
FROM old
JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = old.oid AND classid = 'pg_rewrite'::regclass
JOIN pg_rewrite AS rule ON rule.oid = objid
JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
WHERE NOT pg_has_role(view.relowner, 'USAGE')
GROUP BY view.oid, view.relowner
UNION ALL
SELECT format('%s rests on it: drop it, and make it again afterwards', pg_describe_object(classid, objid, 0))
FROM old
JOIN pg_type AS row_type ON row_type.oid = old.reltype
JOIN pg_depend ON deptype = 'n' AND (
    refclassid = 'pg_class'::regclass AND refobjid = old.oid
    OR refclassid = 'pg_type'::regclass AND refobjid IN (row_type.oid, row_type.typarray)
)
WHERE classid NOT IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)
  AND NOT (refclassid = 'pg_class'::regclass AND EXISTS (
    SELECT FROM pg_rewrite AS rule JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
    WHERE classid = 'pg_rewrite'::regclass AND rule.oid = objid
  ))
GROUP BY classid, objid
