"""Compares the objects of the database with the expected ones. Pure: :mod:`verify` reads the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consumer.admin.migrate import expected

_FIX = "run `ragledger migrate up`"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `detail` says what was found and, if it is wrong, how to fix it."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as format_type prints it, followed by "not null" if it is."""

    type: str
    comment: str | None


@dataclass(frozen=True, slots=True)
class Partitioned:
    """The partitions of ai_dialogue_log; `keepers` counts the triggers that keep its ids unique."""

    partitions: int
    has_default: bool
    keepers: int


@dataclass(frozen=True, slots=True)
class Distributed:
    """How ai_dialogue_log is distributed over a Citus cluster; `keeps_ids`: known_ids is distributed too."""

    key: str
    shards: int
    keeps_ids: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """The objects of ragledger in the database.

    `tables`: table to comment. `columns`: table to column name to column. `indexes`: (table, index) to whether it is
    valid. `enums`: name to labels. `constraints`: (table, name) to whether it is validated. `triggers`: table to the
    names of its updated_at triggers. `foreign_keys_recorded`: whether schema_migrations has 0004. `views`: name to
    whether it runs with the rights of the caller. `partitioned`: None if ai_dialogue_log is a plain table.
    `distributed`: None if it is on one server.
    """

    tables: Mapping[str, str | None]
    columns: Mapping[str, Mapping[str, Column]]
    indexes: Mapping[tuple[str, str], bool]
    enums: Mapping[str, tuple[str, ...]]
    constraints: Mapping[tuple[str, str], bool]
    triggers: Mapping[str, tuple[str, ...]]
    foreign_keys_recorded: bool
    views: Mapping[str, bool]
    partitioned: Partitioned | None = None
    distributed: Distributed | None = None


def compare(facts: Facts) -> Iterator[Check]:
    """Run all checks except the trial insert."""
    yield from (_table(facts, name) for name in expected.COLUMNS)
    yield from (_columns(facts, name) for name in expected.COLUMNS)
    yield from (_comments(facts, name) for name in expected.COLUMNS)
    yield from (_index(facts, name, table) for name, table in expected.INDEXES.items())
    yield from (_enum(facts, name, labels) for name, labels in expected.ENUMS.items())
    yield from (_trigger(facts, table, name) for table, name in expected.TRIGGERS.items())
    yield from (
        _constraint(facts, name, table) for name, table in expected.CONSTRAINTS.items() if table in facts.tables
    )
    yield from (_foreign_key(facts, name, table) for name, table in expected.FOREIGN_KEYS.items())
    yield _partitions(facts.partitioned, facts.distributed)
    if facts.distributed is not None:
        yield _distribution(facts.distributed, facts.partitioned)
    yield from (_view(facts, name) for name in expected.VIEWS)


def _table(facts: Facts, name: str) -> Check:
    exists = name in facts.tables
    return Check(f"table {name}", exists, "exists" if exists else f"missing: {_FIX}")


def _columns(facts: Facts, table: str) -> Check:
    found = facts.columns.get(table, {})
    wrong = [
        f"{name} is {found[name].type if name in found else 'missing'} instead of {type_}"
        for name, type_ in expected.COLUMNS[table].items()
        if name not in found or found[name].type != type_
    ]
    detail = f"{'; '.join(wrong)}: {_FIX}, or correct by hand what it leaves" if wrong else f"{len(found)} as expected"
    return Check(f"columns of {table}", not wrong, detail)


def _comments(facts: Facts, table: str) -> Check:
    found = facts.columns.get(table, {})
    bare = [name for name in expected.COLUMNS[table] if name not in found or not found[name].comment]
    if not facts.tables.get(table):
        bare.insert(0, "the table itself")
    detail = f"none on {', '.join(bare)}: {_FIX}" if bare else "on the table and every column"
    return Check(f"comments of {table}", not bare, detail)


def _index(facts: Facts, name: str, table: str) -> Check:
    usable = facts.indexes.get((table, name))
    details = {
        None: f"missing: {_FIX}",
        False: f"invalid, its build did not finish: DROP INDEX {name} and {_FIX}",
    }
    return Check(f"index {name}", bool(usable), details.get(usable, f"valid, on {table}"))


def _enum(facts: Facts, name: str, labels: tuple[str, ...]) -> Check:
    found = facts.enums.get(name)
    detail = f"missing: {_FIX}" if found is None else ", ".join(found)
    if found is not None and found != labels:
        detail += f" instead of {', '.join(labels)}: another application's type? Give ragledger a schema of its own"
    return Check(f"enum {name}", found == labels, detail)


def _trigger(facts: Facts, table: str, name: str) -> Check:
    found = facts.triggers.get(table, ())
    detail = f"{name} is the only trigger for updated_at"
    if found != (name,):
        detail = f"{', '.join(found) or 'none'} instead of only {name}: {_FIX}, or drop the others"
    return Check(f"trigger on {table}", found == (name,), detail)


def _constraint(facts: Facts, name: str, table: str, kind: str = "constraint") -> Check:
    validated = facts.constraints.get((table, name))
    details = {None: f"missing: {_FIX}", False: f"not validated: ALTER TABLE {table} VALIDATE CONSTRAINT {name}"}
    return Check(f"{kind} {name}", bool(validated), details.get(validated, f"holds for every row of {table}"))


def _foreign_key(facts: Facts, name: str, table: str) -> Check:
    check = _constraint(facts, name, table, "foreign key")
    present = any((table, name) in facts.constraints for name, table in expected.FOREIGN_KEYS.items())
    in_use = (facts.foreign_keys_recorded or present) and (facts.distributed is None or table == "ai_dialogue_log")
    return check if in_use else Check(check.name, ok=True, detail="optional, not applied")


def _partitions(found: Partitioned | None, distributed: Distributed | None) -> Check:
    name = "partitions of ai_dialogue_log"
    if found is None:
        return Check(name, ok=True, detail="not partitioned")
    if distributed is None and found.keepers != expected.ID_KEEPERS:
        return Check(
            name, ok=False, detail="triggers that keep ids unique are missing: run schema/0011_add_partitions.sql"
        )
    if not found.has_default:
        return Check(name, ok=False, detail="no default partition: run `ragledger partition ensure`")
    return Check(name, ok=True, detail=f"{found.partitions} with the default partition, and every id is unique")


def _distribution(found: Distributed, partitioned: Partitioned | None) -> Check:
    name = "distribution of ai_dialogue_log"
    if not found.keeps_ids and (partitioned is not None or found.key != "id"):
        problem = "no table keeps the ids unique over all workers: SELECT undistribute_table('ai_dialogue_log')"
        return Check(name, ok=False, detail=f"{problem}, then run `ragledger distribute apply`")
    return Check(name, ok=True, detail=f"by {found.key} over {found.shards} shards, and every id is unique")


def _view(facts: Facts, name: str) -> Check:
    invoker = facts.views.get(name)
    fix = f"runs with the rights of its owner: ALTER VIEW {name} SET (security_invoker = true)"
    details = {None: f"missing: {_FIX}", False: fix}
    return Check(f"view {name}", bool(invoker), details.get(invoker, "runs with the rights of the caller"))
