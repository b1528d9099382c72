"""Checks the Citus cluster over which ai_dialogue_log is distributed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, warning
from consumer.postgres.queries import load

TABLE = "ai_dialogue_log"
OLD_SECONDS = 300


async def check_cluster(context: CheckContext) -> list[Finding]:
    """Report nodes that do not answer, and transactions that a node has prepared and not committed for minutes.

    Nothing if the table is on one server.
    """
    if not await context.db.rows(load("distributed_tables"), [TABLE]):
        return []
    (table,) = await context.db.rows(load("distribution_state"), [TABLE])
    prepared = load("distribution_prepared").format(seconds=OLD_SECONDS)
    found = [*_nodes(await context.db.rows(prepared))]
    by = f"{TABLE} is distributed by {table['key']} over {table['shards']} shards"
    return found or [fine("cluster", f"{by}, and every node answers")]


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for node in nodes:
        if not node["answers"]:
            fix = "start it, or let the coordinator reach it; until then, no batch of dialogues is written"
            yield error("cluster", f"node {node['name']} does not answer: {node['result']}", fix)
        elif node["result"]:
            count = len(node["result"].split())
            problem = f"node {node['name']} has {count} transactions that have been prepared for over {OLD_SECONDS} s"
            yield warning("cluster", f"{problem}: their rows are locked", "SELECT recover_prepared_transactions()")
