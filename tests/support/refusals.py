"""Rules of a database owner that reject single rows, and the outcome of the rows around them."""

import random
from collections.abc import Sequence
from uuid import UUID

from consumer.events.record import Partition, StoredRecord
from tests.support.ingestion import small_dialogue
from tests.support.producers import provenance
from tests.support.psql import execute
from tests.support.stores import (
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

NOON = "2026-03-04T12:00:00Z"
TABLES = {A: "ai_dialogue_log", P: "provenance"}
TEXTS = {A: "query", P: "source_uri"}
FUNCTION = "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$"
TRIGGER = "CREATE TRIGGER own {when} ON {table} FOR EACH ROW EXECUTE FUNCTION own()"
BAD = "left(NEW.{text}, 9) = 'offending'"


def raising(what: str, when: str = "BEFORE INSERT") -> Sequence[str]:
    """Return a trigger that acts on rejected rows."""
    return FUNCTION.format(f"IF {BAD} THEN {what}; END IF; RETURN NEW;"), TRIGGER.format(when=when, table="{table}")


def deferred(what: str) -> Sequence[str]:
    """Return the same, at the end of the transaction."""
    trigger = TRIGGER.format(when="AFTER INSERT", table="{table}").replace("FOR EACH", "INITIALLY DEFERRED FOR EACH")
    return raising(what)[0], trigger.replace("CREATE TRIGGER", "CREATE CONSTRAINT TRIGGER")


def prepare(backend: PostgresBackend, partition: Partition, statements: Sequence[str]) -> None:
    """Add the owner's rules to a table."""
    rest = ", created_at" if partition == A else ""
    names = {"table": TABLES[partition], "text": TEXTS[partition], "key": TEXTS[partition] + rest, "rest": rest}
    execute(backend.dsn, *(_filled(statement, names) for statement in statements))


def _filled(statement: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        statement = statement.replace(f"{{{name}}}", value)
    return statement


def event(partition: Partition, offset: int, text: str, number: int | None = None) -> StoredRecord:
    """Return a record whose row has this text; equal numbers give equal ids."""
    chance = random.Random(f"{partition}{offset if number is None else number}")
    id_ = str(UUID(int=chance.getrandbits(128), version=4))
    if partition == P:
        return said(P, offset, **provenance(chance, id=id_, source_uri=text))
    return said(A, offset, **small_dialogue(chance, id=id_, query=text, created_at=NOON))


async def ingest(
    backend: Backend, partition: Partition, neighbours: str, offending: Sequence[str], already: Sequence[str] = ()
) -> list[Letter]:
    """Write rejected rows among others: good ones only, duplicates, or others that the database rejects too.
    Return the dead letters of the rejected rows.
    """
    store = backend.store("one")
    claims = await claim(store, partition)
    known = [event(partition, offset, text) for offset, text in enumerate(["known", *already])]
    await write(store, batch_of(claims, known))
    start = len(known)
    wanted = [*offending] if neighbours == "alone" else ["before", *offending, "after"]
    batch = [event(partition, start + place, text) for place, text in enumerate(wanted)]
    duplicates = [event(partition, start + len(batch), "known", number=0)] if neighbours == "duplicates" else []
    others = records(partition, start + len(batch), "refused") if neighbours == "refused" else []
    claims = await claim(store, partition)
    written = await write(store, batch_of(claims, batch, duplicates, others))
    assert len(written.duplicates) == len(duplicates)
    good = [text for text in wanted if text not in offending]
    assert await texts(backend) == sorted([*good, "known", *already])
    dead = len(offending) + len(others)
    total = start + len(batch) + len(duplicates) + len(others)
    line = Line(0, total, inserted=start + len(good), duplicates=len(duplicates), dead=dead)
    assert await backend.ledger() == {partition: line}
    again = await claim(store, partition)
    await write(store, batch_of(again, [event(partition, total, "later")]))
    places = {record.offset for record, text in zip(batch, wanted, strict=True) if text in offending}
    return [letter for letter in await backend.dead_letters() if letter.offset in places]


def assert_reported(
    backend: PostgresBackend, letters: Sequence[Letter], sqlstates: Sequence[str], own: str | None
) -> None:
    """Assert the SQLSTATE of each, and that its text names the constraint without the quoted row."""
    assert [letter.sqlstate for letter in letters] == list(sqlstates)
    for row in backend.query("SELECT detail ->> 'message' AS message, sqlstate FROM dead_letters"):
        assert row["sqlstate"] in row["message"]
        assert "no: " not in row["message"]
        assert own is None or row["sqlstate"] not in sqlstates or f"constraint {own}" in row["message"]
