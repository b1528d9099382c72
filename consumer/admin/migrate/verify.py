"""`ragledger migrate verify`: checks the schema after a migration. Changes nothing: the trial row is rolled back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from consumer.admin.migrate import expected, history
from consumer.admin.migrate.checks import Check, Column, Distributed, Facts, Partitioned, compare
from consumer.admin.migrate.everybody import check_callers, check_public_rights
from consumer.admin.migrate.roles import ROLES, Grant
from consumer.admin.migrate.security_checks import Policy, SecurityFacts, compare_security
from consumer.ingest.erased import Key
from consumer.postgres.admin import AdminConnection, StatementError, Target, connect
from consumer.postgres.queries import load

HISTORY_TABLE = "schema_migrations"
_FOREIGN_KEYS_VERSION = 4
_DIALOGUES, _IDS = "ai_dialogue_log", "known_ids"


async def verify(target: Target, keys: Sequence[Key] = ()) -> tuple[Check, ...]:
    """Check every object of the schema, the roles, the rights of PUBLIC, the encoding and the erasure keys, and try an
    insert.

    All versions are expected; the optional foreign keys only if they were applied. It also works if the files were run
    with psql.

    :param keys: the erasure keys that are set here
    :raises DatabaseError: the connection failed
    :raises ForeignHistoryError: schema_migrations belongs to another tool
    """
    async with connect(target) as db:
        return (*await check_objects(db, keys), await _trial_insert(db))


async def check_objects(db: AdminConnection, keys: Sequence[Key] = ()) -> tuple[Check, ...]:
    """Run all checks of :func:`verify` except the insert.

    :raises DatabaseError: the connection failed
    :raises ForeignHistoryError: schema_migrations belongs to another tool
    """
    facts = await _facts(db)
    security = await _security_facts(db, facts.tables, is_distributed=facts.distributed is not None)
    everybody = await check_public_rights(db, [*expected.COLUMNS, HISTORY_TABLE])
    around = (everybody, await check_callers(db), await _encoding(db), *await _erasure_keys(db, facts, keys))
    return (*compare(facts), *compare_security(security), *around)


async def _facts(db: AdminConnection) -> Facts:
    return Facts(
        tables={row["name"]: row["comment"] for row in await _ask(db, "verify_tables")},
        columns=await _columns(db),
        indexes={(row["table_name"], row["name"]): row["usable"] for row in await _ask(db, "verify_indexes")},
        enums=await _enums(db),
        constraints={
            (row["table_name"], row["name"]): row["validated"] for row in await _ask(db, "verify_constraints")
        },
        triggers=await _triggers(db),
        foreign_keys_recorded=_FOREIGN_KEYS_VERSION in await history.read(db),
        partitioned=await _partitioned(db),
        distributed=await _distributed(db),
        views={row["name"]: row["invoker"] for row in await db.rows(load("verify_views"), list(expected.VIEWS))},
    )


async def _encoding(db: AdminConnection) -> Check:
    (row,) = await db.rows("SELECT current_setting('server_encoding') AS encoding")
    found = row["encoding"]
    advice = "events are UTF-8, and text that it cannot represent is rejected: CREATE DATABASE name ENCODING 'UTF8'"
    return Check("encoding", found == "UTF8", found if found == "UTF8" else f"{found}: {advice} TEMPLATE template0")


async def _erasure_keys(db: AdminConnection, facts: Facts, keys: Sequence[Key]) -> Sequence[Check]:
    """Check that every erased user's key is known. Return nothing if the tables are missing or incomplete."""
    if "erased_users" not in facts.tables or "key" not in facts.columns.get("erasure_version", {}):
        return []
    rows = await db.rows(load("erasure_keys_in_use"))
    known = {key.id for key in [*keys, *(Key(row["kept_key"]) for row in rows if row["kept_key"])]}
    unknown = [f"{row['users']} with key id {row['key_id']}" for row in rows if row["key_id"] not in known]
    detail = f"users were erased with an erasure key that is not known here ({', '.join(unknown)}): {_KEY_ADVICE}"
    return [Check("keys of erased users", not unknown, detail if unknown else "every key is known")]


_KEY_ADVICE = (
    "services write nothing until they have it. Set it as RAGLEDGER_ERASURE__KEY or RAGLEDGER_ERASURE__PREVIOUS_KEYS,"
    " or restore erasure_version.key from a backup; if it is lost for good, erase the users again and delete these rows"
    " of erased_users"
)


async def _ask(db: AdminConnection, name: str) -> list[dict[str, Any]]:
    return await db.rows(load(name), list(expected.COLUMNS))


async def _columns(db: AdminConnection) -> dict[str, dict[str, Column]]:
    columns: defaultdict[str, dict[str, Column]] = defaultdict(dict)
    for row in await _ask(db, "verify_columns"):
        columns[row["table_name"]][row["name"]] = Column(row["type"], row["comment"])
    return columns


async def _enums(db: AdminConnection) -> dict[str, tuple[str, ...]]:
    rows = await db.rows(load("verify_enums"), list(expected.ENUMS))
    return {row["name"]: tuple(row["labels"]) for row in rows}


async def _triggers(db: AdminConnection) -> dict[str, tuple[str, ...]]:
    triggers: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for row in await _ask(db, "verify_triggers"):
        triggers[row["table_name"]] += (row["name"],)
    return triggers


async def _security_facts(db: AdminConnection, tables: Collection[str], *, is_distributed: bool) -> SecurityFacts:
    roles = await db.rows(load("verify_roles"), list(ROLES))
    policies = await _ask(db, "verify_policies")
    triggers: defaultdict[str, set[str]] = defaultdict(set)
    for row in await _ask(db, "verify_delete_triggers"):
        triggers[row["table_name"]].add(row["name"])
    return SecurityFacts(
        secured={row["table_name"] for row in policies if row["in_force"]},
        policies={(row["table_name"], row["name"]): _policy(row) for row in policies if row["name"]},
        roles={row["name"]: row["acts_as_owner"] for row in roles},
        grants=await _grants(db),
        delete_triggers=triggers,
        is_distributed=is_distributed,
        tables={*tables, *(row["name"] for row in await db.rows(load("verify_tables"), [HISTORY_TABLE]))},
    )


def _policy(row: Mapping[str, Any]) -> Policy:
    return Policy(row["command"], row["permissive"], tuple(row["roles"]), row["condition"])


async def _grants(db: AdminConnection) -> Mapping[str, Collection[Grant]]:
    grants: defaultdict[str, set[Grant]] = defaultdict(set)
    for row in await db.rows(load("verify_grants"), [*expected.COLUMNS, HISTORY_TABLE], list(ROLES)):
        grants[row["role"]].add(Grant(row["table_name"], row["privilege"], tuple(row["columns"])))
    return grants


async def _partitioned(db: AdminConnection) -> Partitioned | None:
    rows = await db.rows(load("verify_partitions"))
    return Partitioned(**rows[0]) if rows else None


async def _distributed(db: AdminConnection) -> Distributed | None:
    tables = [_DIALOGUES, _IDS]
    if not await db.rows(load("distributed_tables"), [_DIALOGUES]):
        return None
    held = {row["name"]: row for row in await db.rows(load("distribution_state"), tables)}
    table = held[_DIALOGUES]
    return Distributed(table["key"] or table["kind"], table["shards"], _IDS in held)


async def _trial_insert(db: AdminConnection) -> Check:
    name = "insert into plugin_registry"
    try:
        async with db.transaction(keep=False):
            await db.rows(load("verify_plugin_insert"))
    except StatementError as error:
        return Check(name, ok=False, detail=str(error))
    return Check(name, ok=True, detail="accepted, and rolled back")
