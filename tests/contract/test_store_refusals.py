"""Tests an owner's constraints, triggers and policies on single rows: each rejected row is a dead letter with
its error, and the rows around it are written, with any insert strategy.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from consumer.events.record import Partition
from consumer.postgres.errors import RAISED as RAISED_AT
from tests.support.refusals import assert_reported, deferred, event, ingest, prepare, raising
from tests.support.stores import A, P, PostgresBackend, batch_of, claim, records, write

pytestmark = pytest.mark.timeout(60)

# The errors that triggers raise, by SQLSTATE; some choose one from a class of outages.
RAISED = ["RL001", "38001", "39004", "42501", "42P01", "0A000", "XX000", "02000", "P0004", "40001", "53100", "55000"]
RAISED += ["57014", "57P01", "58030", "08006", "25006", "28000", "01000", "0100C"]
RAISE_IT = "RAISE EXCEPTION 'no: %', NEW.id USING ERRCODE = split_part(NEW.{text}, ' ', 2)"
# Each with its rejected texts, the SQLSTATEs, and the constraint that is named.
ROW_BY_ROW: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str], str | None]] = {
    "raised": (raising(RAISE_IT), [f"offending {code}" for code in RAISED], RAISED, None),
    "raised at the end": (deferred(RAISE_IT), [f"offending {code}" for code in RAISED], RAISED, None),
    "raised after": (
        raising(RAISE_IT, "AFTER INSERT"),
        ["offending RL001", "offending 55000"],
        ["RL001", "55000"],
        None,
    ),
    "assertion": (raising("ASSERT false"), ["offending"], ["P0004"], None),
    "missing table": (raising("INSERT INTO nowhere VALUES (1)"), ["offending"], ["42P01"], None),
    "skipped": (raising("RETURN NULL"), ["offending", "offending too"], ["02000"] * 2, None),
    "other id": (raising("NEW.id := gen_random_uuid()"), ["offending", "offending too"], ["02000"] * 2, None),
    "check": (
        ("ALTER TABLE {table} ADD CONSTRAINT own CHECK ({text} <> 'offending')",),
        ["offending"],
        ["23514"],
        "own",
    ),
}
WITH_ANOTHER: dict[str, tuple[Sequence[str], str, str | None]] = {
    "unique index": (("CREATE UNIQUE INDEX own ON {table} ({key})",), "23505", "own"),
    "expression": (("CREATE UNIQUE INDEX own ON {table} (lower({text}){rest})",), "23505", "own"),
    "partial": (("CREATE UNIQUE INDEX own ON {table} ({key}) WHERE {text} > ''",), "23505", "own"),
    "nulls": (("CREATE UNIQUE INDEX own ON {table} ({key}) NULLS NOT DISTINCT",), "23505", "own"),
    "constraint": (("ALTER TABLE {table} ADD CONSTRAINT own UNIQUE ({key})",), "23505", "own"),
    "deferrable": (
        ("ALTER TABLE {table} ADD CONSTRAINT own UNIQUE ({key}) DEFERRABLE",),
        "23505",
        "own",
    ),
    "deferred": (
        ("ALTER TABLE {table} ADD CONSTRAINT own UNIQUE ({key}) DEFERRABLE INITIALLY DEFERRED",),
        "23505",
        "own",
    ),
    "exclusion": (("ALTER TABLE {table} ADD CONSTRAINT own EXCLUDE ({text} WITH =)",), "23P01", "own"),
    "deferred exclusion": (
        ("ALTER TABLE {table} ADD CONSTRAINT own EXCLUDE ({text} WITH =) INITIALLY DEFERRED",),
        "23P01",
        "own",
    ),
}


EVERYWHERE = [
    ("template18", A, "alone"),
    ("template18", A, "duplicates"),
    ("partitioned18", A, "good"),
    ("partitioned18", A, "refused"),
    ("template15", A, "refused"),
    ("partitioned15", A, "duplicates"),
    ("template18", P, "good"),
    ("template18", P, "duplicates"),
]
PLACES = pytest.mark.parametrize(("place", "partition", "neighbours"), EVERYWHERE, indirect=["place"], ids=str)


@pytest.mark.parametrize("case", ROW_BY_ROW)
@PLACES
async def test_an_error_that_a_row_causes_is_its_dead_letter(
    backend: PostgresBackend, case: str, partition: Partition, neighbours: str
) -> None:
    """It has an error of any class, or no error at all."""
    statements, offending, sqlstates, own = ROW_BY_ROW[case]
    prepare(backend, partition, statements)
    letters = await ingest(backend, partition, neighbours, offending)
    assert_reported(backend, letters, sqlstates, own)


@pytest.mark.parametrize("case", WITH_ANOTHER)
@PLACES
async def test_a_conflict_with_another_row_is_not_a_duplicate(
    backend: PostgresBackend, case: str, partition: Partition, neighbours: str
) -> None:
    """A duplicate is a record whose id is stored already."""
    statements, sqlstate, own = WITH_ANOTHER[case]
    try:
        prepare(backend, partition, statements)
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this version has no such constraint on a partitioned table")
    letters = await ingest(backend, partition, neighbours, ["taken"], already=["taken"])
    assert_reported(backend, letters, [sqlstate], own)


@pytest.mark.parametrize("sqlstate", ["01000", "02000", "02001", "03000", "40001", "08003", "57P03", "XX001"])
@pytest.mark.parametrize("place", ["template18"], indirect=True)
async def test_the_client_survives_any_first_error(backend: PostgresBackend, sqlstate: str) -> None:
    """It occurs alone, so that the client gets it and not only the block in the server; asyncpg has notices for
    some.
    """
    prepare(backend, A, raising(RAISE_IT))
    letters = await ingest(backend, A, "good", [f"offending {sqlstate}"])
    assert_reported(backend, letters, [sqlstate], None)
    assert "left the row out" not in backend.query("SELECT detail ->> 'message' AS said FROM dead_letters")[0]["said"]


@pytest.mark.parametrize("name", ["own", '"Own"', '"own ""one"""', '"RAISE (it)"'])
@pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)
async def test_an_error_belongs_to_its_row_with_any_function_name(backend: PostgresBackend, name: str) -> None:
    """This includes an error from a class of outages."""
    prepare(backend, A, [statement.replace("own()", f"{name}()") for statement in raising(RAISE_IT)])
    letters = await ingest(backend, A, "duplicates", ["offending 40001", "offending 57014"])
    assert_reported(backend, letters, ["40001", "57014"], None)


# How PostgreSQL's translations say that a function is at some statement.
AT = [
    "PL/pgSQL function {} line 3 at {}",
    "PL/pgSQL-Funktion {} Zeile 3 bei {}",
    "funci\u00f3n PL/pgSQL {} en la l\u00ednea 3 en {}",
    "fonction PL/pgSQL {}, ligne 3 \u00e0 {}",
    "PL/pgSQL\u95a2\u6570{}\u306e3\u884c\u76ee - {}",
    'PL/pgSQL \ud568\uc218 "{}" \uc758 3\ubc88\uc9f8 {}',
    "{} PL/pgSQL fonksiyonu, 3. sat\u0131r, {} i\u00e7inde",
    "PL/pgSQL \u51fd\u6570 {} \u7b2c 3 \u884c\u7684 {} \u5904",
    "PL/pgSQL \u10e4\u10e3\u10dc\u10e5\u10ea\u10d8\u10d0 {} 3 {}-\u10e1\u10d7\u10d0\u10dc",
]


@pytest.mark.parametrize("place", ["template18"], indirect=True)
def test_the_source_of_an_error_is_found_in_any_language_of_the_server(backend: PostgresBackend) -> None:
    """The context of an error distinguishes RAISE from other statements, and from a statement that is quoted."""

    def is_raised(line: str) -> bool:
        with psycopg.connect(backend.dsn) as connection:
            found = connection.execute("SELECT %s::text ~ %s::text", (line, RAISED_AT)).fetchone()
        return found is not None and bool(found[0])

    for at in AT:
        assert is_raised(at.format("own()", "RAISE")), at
        for other in ("SQL statement", "PERFORM", "assignment"):
            assert not is_raised(at.format("own()", other)), at
            assert not is_raised(at.format("raise()", other)), at
    assert is_raised(AT[0].format('"Own"(text)', "RAISE"))
    assert not is_raised('SQL statement "SELECT own() -- PL/pgSQL RAISE"')
    assert not is_raised('SQL statement "SELECT 1 -- PL/pgSQL function line 1 at RAISE')


@pytest.mark.parametrize("neighbours", ["alone", "good", "duplicates", "refused"])
@pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)
async def test_the_day_that_a_trigger_gives_a_row_is_touched(backend: PostgresBackend, neighbours: str) -> None:
    """This holds for any insert strategy. Otherwise that day would never be computed."""
    prepare(backend, A, raising("NEW.created_at := NEW.created_at - interval '3 days'"))
    start = backend.store("one")
    offending = [event(A, 0, "offending"), event(A, 1, "offending too")]
    more = {"alone": [], "good": [event(A, 2, "b")], "duplicates": [event(A, 2, "offending", number=0)]}
    others = records(A, 2, "refused") if neighbours == "refused" else more[neighbours]
    written = await write(start, batch_of(await claim(start, A), offending, others))
    assert sum(len(rows) for rows in written.inserted.values()) == 2 + (neighbours == "good")
    days = {str(row["day"]) for row in backend.query("SELECT day FROM touched_days")}
    assert "2026-03-01" in days
    assert {str(row["day"]) for row in backend.query("SELECT created_at::date AS day FROM ai_dialogue_log")} <= days
