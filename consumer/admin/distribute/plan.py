"""Checks whether ai_dialogue_log can be distributed, and lists what distributing it does. Changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load

OLDEST_CITUS = 12
SHARDS_A_WORKER = 2
DIALOGUES, IDS = "ai_dialogue_log", "known_ids"
# Statements of the service lock their rows or join them, which Citus refuses or does slowly for distributed tables.
UNDISTRIBUTED = (
    "provenance",
    "ingest_ledger",
    "dead_letters",
    "touched_days",
    "rollup_buckets",
    "rag_metrics_history",
    "plugin_registry",
    "kept_feedback",
    "kept_verifications",
    "dialogue_costs",
    "dialogue_traces",
    "staged_spans",
)
COPIED_ROWS_A_SECOND = 15_000


class Key(StrEnum):
    """The column by which the rows are distributed."""

    ID = "id"
    USER = "user_id"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, what it does, and its estimated duration."""

    name: str
    does: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The result. If `is_distributed`, `key` and `shards` are those of the table, and there are no steps.

    `rows` is an estimate, None if the table is distributed. `obstacles` are sentences, each with what to do.
    """

    is_distributed: bool
    key: Key
    shards: int
    workers: tuple[str, ...]
    rows: int | None
    obstacles: tuple[str, ...]
    steps: tuple[Step, ...]


async def plan(target: Target, key: Key | None = None, shards: int | None = None) -> Plan:
    """Inspect server and table.

    :param key: the wanted key; None for `id`, or that of a table that is distributed already
    :param shards: the wanted number of shards; None for two for each worker, or those of the table
    :raises DatabaseError: the database cannot be queried
    """
    async with connect(target) as db:
        return await examine(db, key, shards)


async def examine(db: AdminConnection, key: Key | None, shards: int | None) -> Plan:
    """Do the same on an open connection."""
    missing = [obstacle async for obstacle in _missing(db)]
    if missing:
        return Plan(False, key or Key.ID, shards or 0, (), None, tuple(missing), ())
    held = {row["name"]: row for row in await db.rows(load("distribution_state"), [DIALOGUES, IDS, *UNDISTRIBUTED])}
    nodes = await db.rows(load("distribution_nodes"))
    workers = [node["name"] for node in nodes if node["has_shards"] and node["is_active"]]
    found = [*_nodes(nodes, workers), *_others(held), *[one async for one in _prepares(db, workers)]]
    if DIALOGUES in held:
        return _as_it_is(held, workers, key, shards, found)
    wanted, count = key or Key.ID, shards or max(1, SHARDS_A_WORKER * len(workers))
    found += [row["obstacle"] for row in await db.rows(load("distribution_obstacles"), wanted.value)]
    found += [*await _services(db)]
    (size,) = await db.rows(load("distribution_size"))
    found += [_key_of_provenance(row) for row in await db.rows(load("distribution_keys_of_provenance"))]
    referred = sorted({row["table_name"] for row in await foreign_keys(db) if not row["is_everywhere"]})
    chosen = tuple(steps(wanted, count, len(workers), size["rows"], size["is_partitioned"], referred))
    return Plan(False, wanted, count, tuple(workers), size["rows"], tuple(found), chosen)


def keeps_ids(key: Key, *, is_partitioned: bool) -> bool:
    """Whether the ids need a table of their own, because the primary key cannot be the id alone."""
    return key is not Key.ID or is_partitioned


async def foreign_keys(db: AdminConnection) -> Sequence[dict[str, Any]]:
    """Return the foreign keys of ai_dialogue_log, as `distribution_foreign_keys` describes."""
    return await db.rows(load("distribution_foreign_keys"))


def steps(
    key: Key, shards: int, workers: int, rows: int, is_partitioned: bool, referred: Sequence[str]
) -> Iterator[Step]:
    """Yield the steps, in order. All of them are one transaction."""
    copying = rows / COPIED_ROWS_A_SECOND
    yield Step("lock", "take the table: nobody reads or writes it until the end", 0)
    yield Step("policy", "write the policy of readers without a subquery", 0)
    yield Step("triggers", "remove the triggers that use tables of the coordinator", 0)
    if referred:
        yield Step("references", f"make a reference table of {', '.join(referred)}: every worker has a copy", copying)
    if keeps_ids(key, is_partitioned=is_partitioned):
        yield Step("ids", "keep every id once in known_ids, and distribute that by id", copying)
    if is_partitioned:
        yield Step("months", "let the caller make months with the caller's own rights, as the owner", 0)
    if key is Key.USER:
        yield Step("key", "put user_id first in the primary key", copying / 2)
    yield Step("rows", f"distribute the rows by {key} over {shards} shards on {workers} workers", copying)
    yield Step("count", "compare the number of rows before and after", 0)


async def _missing(db: AdminConnection) -> AsyncIterator[str]:
    """What is missing before anything else can be asked."""
    (server,) = await db.rows(load("distribution_server"))
    if server["version"] is None:
        yield (
            "the extension citus is not in this database: add citus to shared_preload_libraries on every node, restart"
            " them, and run CREATE EXTENSION citus in this database on each"
            if server["is_available"]
            else "this server has no Citus: install it on every node, or connect to the coordinator of a cluster"
        )
    elif int(server["version"].split(".")[0].split("-")[0]) < OLDEST_CITUS:
        yield f"Citus {server['version']} is too old: upgrade every node to {OLDEST_CITUS} or newer"
    if not server["is_migrated"]:
        yield "the tables of ragledger are missing here, or are those of an earlier version: run `ragledger migrate up`"


def _nodes(nodes: Sequence[Any], workers: Sequence[str]) -> Iterator[str]:
    if nodes and not nodes[0]["is_here"]:
        yield "this server is a worker: connect to the coordinator"
    if not workers:
        yield "the cluster has no worker for shards: run SELECT citus_add_node('host', 5432) for each"
    for node in nodes:
        if not node["is_active"]:
            yield f"node {node['name']} is not active: SELECT citus_activate_node(host, port), or remove it"


async def _prepares(db: AdminConnection, workers: Sequence[str]) -> AsyncIterator[str]:
    for row in await db.rows(load("distribution_prepares")) if workers else ():
        if not row["answers"]:
            yield f"worker {row['name']} does not answer: {row['result']}"
        elif row["result"] == "0":
            yield f"worker {row['name']} allows no prepared transactions: set max_prepared_transactions to 200 or more"


def _others(held: dict[str, Any]) -> Iterator[str]:
    for name in UNDISTRIBUTED:
        if name in held:
            how = f"Citus holds {name} as a {held[name]['kind']} table, and ragledger does not work with that"
            yield f"{how}: SELECT undistribute_table('{name}')"


def _key_of_provenance(row: Any) -> str:
    return (
        f"foreign key {row['name']} of provenance refers to {row['table_name']}, so Citus would hold provenance too,"
        f" and checks of it would fail: ALTER TABLE provenance DROP CONSTRAINT {row['name']}"
    )


async def _services(db: AdminConnection) -> Sequence[str]:
    (found,) = await db.rows(load("distribution_services"))
    if not found["sessions"]:
        return ()
    return (f"ragledger runs ({found['sessions']} sessions): stop it, and close the sessions that a pooler keeps",)


def _as_it_is(
    held: dict[str, Any], workers: Sequence[str], key: Key | None, shards: int | None, found: Sequence[str]
) -> Plan:
    """The plan for a table that Citus holds already."""
    table, obstacles = held[DIALOGUES], list(found)
    if table["kind"] != "distributed" or table["key"] not in list(Key):
        how = f"by {table['key']}" if table["key"] else f"as a {table['kind']} table"
        obstacles.append(f"Citus holds ai_dialogue_log {how}: SELECT undistribute_table('{DIALOGUES}')")
        return Plan(False, key or Key.ID, shards or table["shards"], tuple(workers), None, tuple(obstacles), ())
    has = Key(table["key"])
    if (key or has, shards or table["shards"]) != (has, table["shards"]):
        obstacles.append(
            f"it is distributed already, by {has} over {table['shards']} shards: ragledger does not change that"
        )
    return Plan(True, has, table["shards"], tuple(workers), None, tuple(obstacles), ())
