"""Tests the views of unusable sources: answers that cite sources whose licence, consent or retention no
longer allows it.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.notices import ALICE, BOB, acquired, insert
from tests.support.psql import execute, rows, value

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DIALOGUE = "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, citations)"
ANSWERS = "SELECT dialogue_id, source, problems, archived FROM answers_citing_unusable_sources ORDER BY source"
MANY = 200_000


def answer(dsn: str, *sources: str, user: UUID = ALICE, created_at: str = "2026-01-01 10:00") -> UUID:
    """Insert a dialogue that cites these sources. Return its id."""
    citations = json.dumps([{"source": source, "title": "t"} for source in sources])
    dialogue = uuid4()
    sql = f"{DIALOGUE} VALUES (%s, %s, %s, 'q', 'r', 'm', %s, %s)"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.encode(), (dialogue, user, dialogue, created_at, citations))
    return dialogue


def acquire(dsn: str, source: str, *, permission: bool | None = None, consent: bool | None = None, **row: Any) -> UUID:
    """Insert provenance of the source. Return its id."""
    (id_,) = insert(dsn, acquired(1, **{"source_uri": source, "retention_years": None, **row}))
    flags = "UPDATE provenance SET permission_flag = %s, external_share_consent = %s WHERE id = %s"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(flags, (permission, consent, id_))
    return id_


def problems(dsn: str) -> dict[str, list[str]]:
    """Return the problems of each source that an answer cites."""
    return {row["source"]: row["problems"] for row in rows(dsn, ANSWERS)}


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, []),
        ({"license_type": "cc_by_nc"}, []),
        ({"permission": True, "consent": True, "license_type": "proprietary"}, []),
        ({"permission": True, "license_type": "unknown"}, []),
        ({"permission": False}, ["permission_denied"]),
        ({"consent": False}, ["consent_refused"]),
        ({"license_type": "proprietary"}, ["license_needs_permission"]),
        ({"license_type": "unknown"}, ["license_unknown"]),
        ({"retention_years": 1}, ["retention_ended"]),
        ({"retention_years": 2_147_483_647, "acquired_at": "9999-12-31"}, []),
        ({"retention_years": 1, "access_policy": {"legal_hold": True}}, ["retention_ended"]),
        (
            {"permission": False, "consent": False, "license_type": "unknown", "retention_years": 0},
            ["permission_denied", "consent_refused", "license_unknown", "retention_ended"],
        ),
    ],
)
def test_each_rule(filled: str, terms: dict[str, Any], expected: list[str]) -> None:
    """Usable sources are not in the view; unusable ones are, with every reason. A missing statement forbids nothing."""
    acquire(filled, "https://a.example", **terms)
    dialogue = answer(filled, "https://a.example", "https://elsewhere.example", "https://a.example")
    found = rows(filled, ANSWERS)
    assert [(row["dialogue_id"], row["problems"]) for row in found] == ([(dialogue, expected)] if expected else [])


def test_the_newest_acquisition_of_a_source_counts(filled: str) -> None:
    """Acquired again with better terms it is usable; with worse terms it is not."""
    acquire(filled, "https://better.example", license_type="unknown", acquired_at="2020-01-01")
    acquire(filled, "https://better.example", acquired_at="2021-01-01")
    acquire(filled, "https://worse.example", acquired_at="2020-01-01")
    acquire(filled, "https://worse.example", consent=False, acquired_at="2021-01-01")
    answer(filled, "https://better.example", "https://worse.example")
    assert problems(filled) == {"https://worse.example": ["consent_refused"]}


def test_sources_that_retention_has_archived_are_still_known(filled: str) -> None:
    """The answer cites one; its retention is over, unless it was acquired again."""
    for source in ("https://gone.example", "https://again.example"):
        acquire(filled, source, retention_years=1)
    execute(
        filled,
        "INSERT INTO retention_archive (id, run_id, retention_ended_at, provenance)"
        " SELECT id, gen_random_uuid(), retention_ends_at(acquired_at, retention_years), to_jsonb(p) FROM provenance p",
        "DELETE FROM provenance",
    )
    acquire(filled, "https://again.example")
    answer(filled, "https://gone.example", "https://again.example")
    assert [(row["source"], row["problems"], row["archived"]) for row in rows(filled, ANSWERS)] == [
        ("https://gone.example", ["retention_ended"], True)
    ]


@pytest.mark.parametrize(
    "citations", ["null", "[]", "{}", '"x"', "[1, null, {}]", '[{"source": 5}]', '[{"source": null}]', '[["a"]]']
)
def test_citations_of_any_form_are_handled(filled: str, citations: str) -> None:
    """Rows of other programs are skipped."""
    acquire(filled, "https://a.example", license_type="unknown")
    execute(filled, f"{DIALOGUE} VALUES (gen_random_uuid(), '{ALICE}', '{ALICE}', 'q', 'r', 'm', now(), '{citations}')")
    dialogue = answer(filled, "https://a.example")
    assert [row["dialogue_id"] for row in rows(filled, ANSWERS)] == [dialogue]


def test_the_columns_have_standard_names(filled: str) -> None:
    """SPDX identifiers in the view, W3C PROV terms in the comments; access_policy gives the C2PA manifest."""
    licenses = ("cc0", "cc_by", "cc_by_sa", "cc_by_nc", "cc_by_nd", "mit", "apache_2_0", "proprietary", "unknown")
    for license_type in licenses:
        acquire(filled, f"https://{license_type}.example", license_type=license_type, permission=False)
    manifest = {"c2pa": {"manifest_url": "https://c2pa.example/m.c2pa", "hash": "abc", "alg": "sha256"}}
    acquire(filled, "https://store.example", consent=False, access_policy=manifest)
    answer(filled, *(f"https://{license_type}.example" for license_type in licenses), "https://store.example")
    found = rows(filled, "SELECT license_type::text, license_spdx, c2pa_manifest FROM answers_citing_unusable_sources")
    assert {row["license_type"]: row["license_spdx"] for row in found} == {
        "cc0": "CC0-1.0",
        "cc_by": "CC-BY-4.0",
        "cc_by_sa": "CC-BY-SA-4.0",
        "cc_by_nc": "CC-BY-NC-4.0",
        "cc_by_nd": "CC-BY-ND-4.0",
        "mit": "MIT",
        "apache_2_0": "Apache-2.0",
        "proprietary": "LicenseRef-Proprietary",
        "unknown": "NOASSERTION",
    }
    assert [row["c2pa_manifest"] for row in found if row["c2pa_manifest"]] == ["https://c2pa.example/m.c2pa"]
    comments = rows(
        filled,
        "SELECT attname, col_description(attrelid, attnum) AS comment FROM pg_attribute"
        " WHERE attrelid IN ('source_usability'::regclass, 'answers_citing_unusable_sources'::regclass) AND attnum > 0",
    )
    assert all(row["comment"] for row in comments)
    assert sum("prov:" in row["comment"] for row in comments) >= 12


def test_row_level_security_applies_to_the_views(filled: str) -> None:
    """Each caller sees the same as in the tables: its own answers, and the sources that a policy shows."""
    role = f"reader_{uuid4().hex[:8]}"
    acquire(filled, "https://a.example", license_type="unknown", acquired_by=ALICE)
    own, _ = answer(filled, "https://a.example", user=ALICE), answer(filled, "https://a.example", user=BOB)
    execute(
        filled,
        f"CREATE ROLE {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        "ALTER TABLE ai_dialogue_log ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE provenance ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON ai_dialogue_log FOR SELECT"
        " USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid)",
        "CREATE POLICY own ON provenance FOR SELECT"
        " USING (acquired_by = nullif(current_setting('app.current_user_id', true), '')::uuid)",
    )
    try:
        with psycopg.connect(filled) as connection:
            connection.execute(f"SET ROLE {role}".encode())
            seen = {}
            for user in (ALICE, BOB, None):
                connection.execute("SELECT set_config('app.current_user_id', %s, false)", [str(user or "")])
                seen[user] = [row[0] for row in connection.execute(ANSWERS.encode()).fetchall()]
        assert seen == {ALICE: [own], BOB: [], None: []}
    finally:
        execute(filled, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def many(filled: str) -> str:
    """Return the DSN of a database with many dialogues over a year, and the provenance of their citations."""
    execute(
        filled,
        f"""
        {DIALOGUE}
        SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm',
               timestamp '2025-01-01' + n * interval '157.5 seconds',
               CASE WHEN n % 4 > 0 THEN jsonb_build_array(
                 jsonb_build_object('source', 'https://s.example/' || n % 20000, 'confidence', 0.5),
                 jsonb_build_object('source', 'https://s.example/' || n * 7 % 20000)) END
        FROM generate_series(1, {MANY}) AS n
        """,
        """
        INSERT INTO provenance (id, content_id, content_type, source_uri, license_type, acquisition_method,
                                acquired_at, retention_years)
        SELECT gen_random_uuid(), gen_random_uuid(), 'material', 'https://s.example/' || n % 20000,
               (ARRAY['mit', 'cc_by', 'unknown'])[1 + (n % 50 = 0)::int * 2]::license_type, 'api_fetch',
               timestamp '2024-01-01' + n * interval '1 minute', 10
        FROM generate_series(0, 59999) AS n
        """,
        "VACUUM ANALYZE ai_dialogue_log",
        "VACUUM ANALYZE provenance",
    )
    return filled


def test_a_day_with_many_dialogues_uses_the_indexes(many: str) -> None:
    """With a range of created_at, only that day's answers and their sources are read."""
    day = "created_at >= '2025-06-01' AND created_at < '2025-06-02'"
    sql = f"SELECT count(*) FROM answers_citing_unusable_sources WHERE {day}"
    plan = value(many, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")[0]
    nodes = list(plan_nodes(plan["Plan"]))
    indexes = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert "idx_ai_dialogue_created_at" in indexes
    assert "idx_provenance_source" in indexes
    scanned = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
    assert not scanned & {"ai_dialogue_log", "provenance"}
    slow = f"""
        SELECT count(*) FROM (
          SELECT DISTINCT d.id, c ->> 'source' FROM ai_dialogue_log d, jsonb_array_elements(d.citations) c,
          LATERAL (SELECT license_type FROM provenance WHERE source_uri = c ->> 'source'
                   ORDER BY acquired_at DESC, id DESC LIMIT 1) p
          WHERE {day} AND p.license_type = 'unknown'
        ) AS pairs
    """
    assert value(many, sql) == value(many, slow) > 0


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every node of a plan."""
    yield node
    for part in node.get("Plans", []):
        yield from plan_nodes(part)


def test_the_review_s_rollback_still_runs(filled: str) -> None:
    """It drops tables with CASCADE, but columns and types without: none of our objects may prevent it."""
    execute(
        filled,
        "DROP TABLE IF EXISTS plugin_registry CASCADE",
        "DROP TABLE IF EXISTS rag_metrics_history CASCADE",
        "DROP TABLE IF EXISTS provenance CASCADE",
        "ALTER TABLE ai_dialogue_log DROP COLUMN IF EXISTS citations, DROP COLUMN IF EXISTS latency_ms",
        "DROP TYPE IF EXISTS license_type",
        "DROP TYPE IF EXISTS acquisition_method",
        "DROP TYPE IF EXISTS content_type",
    )
    assert value(filled, "SELECT to_regclass('source_usability') IS NULL")
