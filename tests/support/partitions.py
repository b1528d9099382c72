"""Shared by tests of partitions: dialogues in many months, and the expected properties of a converted table."""

import asyncio
from typing import Any

from consumer.maintenance.table_partitions import Converted, convert
from tests.support.psql import APPLICATION_TABLES, FILES, catalog, execute, one_file, rows, run_files, value

MONTHS_AHEAD = 2

# Two rows a day over seven months, ending yesterday; and rows of months without a partition.
FILL = """
INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, citations, latency_ms)
SELECT gen_random_uuid(), ('00000000-0000-0000-0000-' || lpad((n % 10)::text, 12, '0'))::uuid, gen_random_uuid(),
       'question ' || n, repeat('answer ', 20 + n % 7), 'm', now() AT TIME ZONE 'UTC' - n * interval '12 hours',
       CASE WHEN n % 3 = 0 THEN '[{"source": "s"}]'::jsonb END, n
FROM generate_series(2, 420) AS n
"""
OUTSIDE = """
INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'outside', 'r', 'm', moment
FROM unnest(ARRAY['1990-01-01'::timestamp, '2199-12-31 23:59:59', 'infinity', '-infinity']) AS moment
"""
ALL_ROWS = "SELECT id, dialogue::text AS content FROM ai_dialogue_log AS dialogue ORDER BY id"
# Rows that are in the wrong partition, or in the default one although their month has a partition.
MISPLACED = """
SELECT dialogue.id, dialogue.created_at, dialogue.tableoid::regclass
FROM ai_dialogue_log AS dialogue
JOIN dialogue_partitions('ai_dialogue_log') AS held ON held.partition = dialogue.tableoid
WHERE CASE WHEN is_default THEN EXISTS (
        SELECT FROM dialogue_partitions('ai_dialogue_log') AS other
        WHERE NOT other.is_default AND dialogue.created_at >= other.begins_at AND dialogue.created_at < other.ends_at
    ) ELSE created_at < begins_at OR created_at >= ends_at END
"""
WRONG_IDS = """
SELECT id FROM ai_dialogue_log GROUP BY id HAVING count(*) > 1
UNION ALL (SELECT id FROM ai_dialogue_log EXCEPT SELECT id FROM known_ids)
UNION ALL (SELECT id FROM known_ids EXCEPT SELECT id FROM ai_dialogue_log)
"""


def converted(dsn: str, **arguments: Any) -> Converted:
    """Run a conversion to its end."""
    return asyncio.run(convert(dsn, months_ahead=MONTHS_AHEAD, **arguments))


def fill(dsn: str) -> list[dict[str, Any]]:
    """Insert dialogues of many months, and return them."""
    execute(dsn, FILL, OUTSIDE)
    return rows(dsn, ALL_ROWS)


def one_dialogue(moment: str = "now() AT TIME ZONE 'UTC'", id_: str = "gen_random_uuid()") -> str:
    """Return a statement that inserts one dialogue with this time, both SQL expressions."""
    return (
        "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at)"
        f" VALUES ({id_}, gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm', {moment})"
    )


def is_partitioned(dsn: str) -> bool:
    """Return whether the table is partitioned."""
    return bool(value(dsn, "SELECT relkind = 'p' FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass"))


def assert_sound(dsn: str) -> None:
    """Assert that every row is in its month's partition, every id is unique, and no object of a conversion is left."""
    assert is_partitioned(dsn)
    assert rows(dsn, MISPLACED) == []
    assert rows(dsn, WRONG_IDS) == []
    assert leftovers(dsn) == []


def leftovers(dsn: str) -> list[str]:
    """Return objects that exist only during a conversion."""
    found = rows(
        dsn,
        "SELECT relname AS name FROM pg_class WHERE relname ~ '_(new|before|deleted)$'"
        " UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'mirror_%'"
        " UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE 'mirror_%'"
        " UNION ALL SELECT phase FROM partition_conversions WHERE finished_at IS NULL",
    )
    return [row["name"] for row in found]


# A table with every possible property: policies, privileges, a trigger of the application, comments, settings.
PROPERTIES = (
    "DO $$ BEGIN CREATE ROLE partition_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "GRANT SELECT, INSERT ON ai_dialogue_log TO partition_reader",
    "GRANT UPDATE (user_feedback) ON ai_dialogue_log TO partition_reader WITH GRANT OPTION",
    "GRANT SELECT ON ai_dialogue_log TO PUBLIC",
    "ALTER TABLE ai_dialogue_log ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON ai_dialogue_log FOR SELECT TO partition_reader"
    " USING (user_id = NULLIF(current_setting('app.current_user_id', true), '')::uuid)",
    "CREATE POLICY writes ON ai_dialogue_log AS RESTRICTIVE FOR INSERT WITH CHECK (length(query) < 1000)",
    "COMMENT ON POLICY own ON ai_dialogue_log IS 'only one''s own'",
    "COMMENT ON INDEX idx_ai_dialogue_user IS 'by user'",
    "CREATE TABLE audit (id UUID)",
    "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END'",
    "CREATE TRIGGER audit AFTER INSERT ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION audit()",
    "CREATE TRIGGER asleep AFTER INSERT ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION audit()",
    "ALTER TABLE ai_dialogue_log DISABLE TRIGGER asleep",
    "COMMENT ON TRIGGER audit ON ai_dialogue_log IS 'who was here'",
    "ALTER TABLE ai_dialogue_log SET (fillfactor = 90)",
    "ALTER TABLE ai_dialogue_log ADD COLUMN words INTEGER GENERATED ALWAYS AS (length(query)) STORED",
    'ALTER TABLE ai_dialogue_log ADD COLUMN "uncommon ""name""" TEXT DEFAULT \'x\'',
    "CREATE VIEW recent WITH (security_barrier=true) AS SELECT id, query FROM ai_dialogue_log",
    "CREATE VIEW beyond AS SELECT count(*) AS n FROM recent JOIN ai_dialogue_log USING (id)",
    "GRANT SELECT ON recent TO partition_reader",
)
LIST_PROPERTIES = """
SELECT 'privilege ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(relacl) AS a) AS line
FROM pg_class WHERE relname IN ('ai_dialogue_log', 'recent')
UNION ALL SELECT 'column privilege ' || attname || attacl::text FROM pg_attribute
WHERE attrelid = 'ai_dialogue_log'::regclass AND attacl IS NOT NULL
UNION ALL SELECT format('policy %s %s %s %s %s %s', policyname, permissive, roles, cmd, qual, with_check)
FROM pg_policies WHERE tablename = 'ai_dialogue_log'
UNION ALL SELECT format('security %s %s', relrowsecurity, relforcerowsecurity)
FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
UNION ALL SELECT format('trigger %s %s', tgname, tgenabled) FROM pg_trigger
WHERE tgrelid = 'ai_dialogue_log'::regclass AND tgname NOT LIKE 'keep_%' AND NOT tgisinternal
UNION ALL SELECT format('view %s %s', relname, reloptions) FROM pg_class WHERE relkind = 'v'
ORDER BY line
"""


def properties(dsn: str) -> list[str]:
    """Return the properties of a table besides its columns and indexes, one in each line."""
    return [row["line"] for row in rows(dsn, LIST_PROPERTIES)]


def own_lines(dsn: str) -> list[str]:
    """Return the catalog lines about everything except partitions and the triggers of a partitioned table."""
    return [
        line
        for line in catalog(dsn)
        if "ai_dialogue_log_2" not in line
        and "ai_dialogue_log_default" not in line
        and "keep_dialogue_id_on" not in line
    ]


def make_with_properties(dsn: str) -> None:
    """Give an empty database a filled table with every possible property, foreign keys included."""
    execute(dsn, *APPLICATION_TABLES)
    run_files(dsn, *FILES)
    execute(dsn, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT fk_ai_dialogue_user")
    fill(dsn)
    execute(dsn, "INSERT INTO users SELECT DISTINCT user_id FROM ai_dialogue_log", *PROPERTIES)
    run_files(dsn, one_file("0004"))
