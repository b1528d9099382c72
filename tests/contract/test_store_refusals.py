"""What an owner's constraints, triggers and policies do to single rows: each such row is a dead letter, whatever it
raises, and the rows around it are written, in whichever way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest

from consumer.events.record import Partition, StoredRecord
from tests.ingestion import small_dialogue
from tests.producers import provenance
from tests.psql import execute
from tests.stores import (
    REAL,
    A,
    Backend,
    Letter,
    Line,
    P,
    PostgresBackend,
    batch_of,
    claim,
    records,
    said,
    texts,
    write,
)

pytestmark = pytest.mark.timeout(60)

NOON = "2026-03-04T12:00:00Z"
TABLES = {A: "ai_dialogue_log", P: "provenance"}
TEXTS = {A: "query", P: "source_uri"}
# What raises, by its SQLSTATE: classes of outages, too, where a trigger chooses one.
RAISED = ["RL001", "38001", "39004", "42501", "42P01", "0A000", "XX000", "02000", "P0004", "40001", "53100", "55000"]
RAISED += ["57014", "57P01", "58030", "08006", "25006", "28000"]
FUNCTION = "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$"
TRIGGER = "CREATE TRIGGER own {when} ON {table} FOR EACH ROW EXECUTE FUNCTION own()"
BAD = "left(NEW.{text}, 6) = 'guilty'"


def raising(what: str, when: str = "BEFORE INSERT") -> Sequence[str]:
    """A trigger that does something to guilty rows."""
    return FUNCTION.format(f"IF {BAD} THEN {what}; END IF; RETURN NEW;"), TRIGGER.format(when=when, table="{table}")


def deferred(what: str) -> Sequence[str]:
    """The same at the end of the transaction."""
    trigger = TRIGGER.format(when="AFTER INSERT", table="{table}").replace("FOR EACH", "INITIALLY DEFERRED FOR EACH")
    return raising(what)[0], trigger.replace("CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER")


RAISE_IT = "RAISE EXCEPTION 'no: %', NEW.id USING ERRCODE = split_part(NEW.{text}, ' ', 2)"
# Each with its guilty texts, the SQLSTATEs, and the constraint that is named.
ROW_BY_ROW: dict[str, tuple[Sequence[str], Sequence[str], Sequence[str], str | None]] = {
    "raised": (raising(RAISE_IT), [f"guilty {code}" for code in RAISED], RAISED, None),
    "raised at the end": (deferred(RAISE_IT), [f"guilty {code}" for code in RAISED], RAISED, None),
    "raised after": (raising(RAISE_IT, "AFTER INSERT"), ["guilty RL001", "guilty 55000"], ["RL001", "55000"], None),
    "assertion": (raising("ASSERT false"), ["guilty"], ["P0004"], None),
    "missing table": (raising("INSERT INTO nowhere VALUES (1)"), ["guilty"], ["42P01"], None),
    "skipped": (raising("RETURN NULL"), ["guilty", "guilty too"], ["02000"] * 2, None),
    "other id": (raising("NEW.id := gen_random_uuid()"), ["guilty", "guilty too"], ["02000"] * 2, None),
    "check": (("ALTER TABLE {table} ADD CONSTRAINT own CHECK ({text} <> 'guilty')",), ["guilty"], ["23514"], "own"),
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


@pytest.fixture(params=REAL)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A server, and the name of a migrated database on it."""
    found: tuple[str, str] = request.getfixturevalue(request.param)
    return found


def prepare(backend: PostgresBackend, partition: Partition, statements: Sequence[str]) -> None:
    """Give a table what its owner has thought up."""
    rest = ", created_at" if partition == A else ""
    names = {"table": TABLES[partition], "text": TEXTS[partition], "key": TEXTS[partition] + rest, "rest": rest}
    execute(backend.dsn, *(_filled(statement, names) for statement in statements))


def _filled(statement: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        statement = statement.replace(f"{{{name}}}", value)
    return statement


def event(partition: Partition, offset: int, text: str, number: int | None = None) -> StoredRecord:
    """A record whose row has this text; of equal numbers of equal ids."""
    chance = random.Random(f"{partition}{offset if number is None else number}")
    id_ = str(UUID(int=chance.getrandbits(128), version=4))
    if partition == P:
        return said(P, offset, **provenance(chance, id=id_, source_uri=text))
    return said(A, offset, **small_dialogue(chance, id=id_, query=text, created_at=NOON))


async def ingest(
    backend: Backend, partition: Partition, company: str, guilty: Sequence[str], already: Sequence[str] = ()
) -> list[Letter]:
    """Have guilty rows written in some company, and the good ones: all by themselves, with duplicates, with others that
    the database refuses for its own reasons. The dead letters of the guilty rows."""
    store = backend.store("one")
    claims = await claim(store, partition)
    known = [event(partition, offset, text) for offset, text in enumerate(["known", *already])]
    await write(store, batch_of(claims, known))
    start = len(known)
    wanted = [*guilty] if company == "alone" else ["before", *guilty, "after"]
    batch = [event(partition, start + place, text) for place, text in enumerate(wanted)]
    duplicates = [event(partition, start + len(batch), "known", number=0)] if company == "duplicates" else []
    others = records(partition, start + len(batch), "refused") if company == "refused" else []
    claims = await claim(store, partition)
    written = await write(store, batch_of(claims, batch, duplicates, others))
    assert len(written.duplicates) == len(duplicates)
    good = [text for text in wanted if text not in guilty]
    assert await texts(backend) == sorted([*good, "known", *already])
    dead = len(guilty) + len(others)
    total = start + len(batch) + len(duplicates) + len(others)
    line = Line(0, total, inserted=start + len(good), duplicates=len(duplicates), dead=dead)
    assert await backend.ledger() == {partition: line}
    again = await claim(store, partition)
    await write(store, batch_of(again, [event(partition, total, "later")]))
    places = {record.offset for record, text in zip(batch, wanted, strict=True) if text in guilty}
    return [letter for letter in await backend.dead_letters() if letter.offset in places]


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
PLACES = pytest.mark.parametrize(("place", "partition", "company"), EVERYWHERE, indirect=["place"], ids=str)


def assert_told(backend: PostgresBackend, letters: Sequence[Letter], sqlstates: Sequence[str], own: str | None) -> None:
    """The SQLSTATE of each; in words too, with the constraint, and without what the error quotes."""
    assert [letter.sqlstate for letter in letters] == list(sqlstates)
    for row in backend.query("SELECT detail ->> 'message' AS message, sqlstate FROM dead_letters"):
        assert row["sqlstate"] in row["message"]
        assert "no: " not in row["message"]
        assert own is None or row["sqlstate"] not in sqlstates or f"constraint {own}" in row["message"]


@pytest.mark.parametrize("case", ROW_BY_ROW)
@PLACES
async def test_what_a_row_provokes_is_its_dead_letter(
    backend: PostgresBackend, case: str, partition: Partition, company: str
) -> None:
    """An error of its own, of whatever class, or no error at all."""
    statements, guilty, sqlstates, own = ROW_BY_ROW[case]
    prepare(backend, partition, statements)
    letters = await ingest(backend, partition, company, guilty)
    assert_told(backend, letters, sqlstates, own)


@pytest.mark.parametrize("case", WITH_ANOTHER)
@PLACES
async def test_a_conflict_with_another_row_is_no_duplicate(
    backend: PostgresBackend, case: str, partition: Partition, company: str
) -> None:
    """A duplicate is a record whose id is there already."""
    statements, sqlstate, own = WITH_ANOTHER[case]
    try:
        prepare(backend, partition, statements)
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this version has no such constraint on a partitioned table")
    letters = await ingest(backend, partition, company, ["taken"], already=["taken"])
    assert_told(backend, letters, [sqlstate], own)
