"""Saves the results of a run, and describes its machine, as one JSON document."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.backlog import Backlog
from bench.delay import Delay
from bench.measure import COPY_NAMES, IdleStart
from bench.ragledger import NAME
from bench.rounds import Suite
from bench.servers import JVM_OPTIONS, POSTGRES_SETTINGS, Servers
from bench.shapes import Costs
from bench.summary import Summary, Target, of, summarize, targets, targets_against, targets_of
from bench.topics import COMPRESSION, PARTITIONS
from bench.traces import TraceCosts
from consumer import __version__
from consumer.devstack.jars import KAFKA_VERSION

OURS = frozenset({NAME, *COPY_NAMES.values()})
DIRECTORY = Path("bench/results")  # below the working directory
# Settings of ragledger that a run may change. All others have their defaults.
_TRIED_OUT = ("RAGLEDGER_BATCH__", "RAGLEDGER_KAFKA__FETCH", "RAGLEDGER_POSTGRES__POOL", "RAGLEDGER_ROLLUP__")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of the run. Absolute figures of different machines cannot be compared."""

    processor: str
    cores: int
    memory_gb: int
    system: str
    load: float


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one run."""

    taken_at: datetime
    machine: Machine
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    everything: Suite
    dialogues: Suite
    provenance: Suite
    delays: Sequence[Delay]
    backlog: Backlog | None
    idle_start: IdleStart
    costs: Costs
    traces: TraceCosts

    @property
    def suites(self) -> Sequence[Suite]:
        """The three suites: the rows of all kinds together, and of each kind alone."""
        return self.everything, self.dialogues, self.provenance

    @property
    def with_peers(self) -> bool:
        """Whether peers took part in the suite of dialogues."""
        return bool(self._peers)

    @property
    def _peers(self) -> Sequence[Summary]:
        return [one for one in summarize(self.dialogues) if one.contestant not in OURS]

    @property
    def targets(self) -> list[Target]:
        """The targets of ragledger, with the measured figures."""
        ours = of(summarize(self.dialogues), NAME)
        return [
            *targets(self.everything, self.costs, self.idle_start, self.traces),
            *(targets_against(self._peers, ours) if self._peers else ()),
            *targets_of(self.delays, self.backlog),
        ]


def this_machine() -> Machine:
    """Describe the machine, with its load before the run."""
    memory = round(psutil.virtual_memory().total / 1e9)
    system = f"{platform.system()} {platform.machine()}"
    return Machine(_processor(), os.cpu_count() or 1, memory, system, round(psutil.getloadavg()[0], 2))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def versions(servers: Servers) -> dict[str, str]:
    """The versions of ragledger, Python and the servers."""
    row = servers.connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return {
        "ragledger": __version__,
        "Python": sys.version.split()[0],
        "PostgreSQL": str(row[0]),
        "Kafka": KAFKA_VERSION,
    }


def settings(rounds: int, seed: int) -> dict[str, Any]:
    """The parameters of the run, and the settings of the servers."""
    return {
        "rounds": rounds,
        "seed": seed,
        "partitions": PARTITIONS,
        "compression": COMPRESSION,
        "postgres": POSTGRES_SETTINGS,
        "kafka_jvm": JVM_OPTIONS,
        "ragledger": {name: value for name, value in os.environ.items() if name.startswith(_TRIED_OUT)},
    }


def to_json(results: Results) -> dict[str, Any]:
    """Convert the results to the JSON document."""
    return {
        "taken_at": results.taken_at.isoformat(timespec="seconds"),
        "machine": asdict(results.machine),
        "versions": dict(results.versions),
        "settings": dict(results.settings),
        "idle_start": asdict(results.idle_start),
        "decoding": asdict(results.costs),
        "traces": asdict(results.traces),
        "delays": [asdict(one) for one in results.delays],
        "backlog": asdict(results.backlog) if results.backlog else None,
        "targets": [_target(one) for one in results.targets],
        "suites": [_suite(suite) for suite in results.suites],
    }


def _target(target: Target) -> dict[str, Any]:
    return asdict(target) | {"met": target.is_met(target.least), "goal_met": target.is_met(target.goal)}


def _suite(suite: Suite) -> dict[str, Any]:
    return {
        "key": suite.key,
        "rows": [{"table": r.table, "count": r.count, "mean_bytes": round(r.mean_bytes)} for r in suite.rows],
        "summary": [_summary(one) for one in summarize(suite)],
        "rounds": [[asdict(one) for one in measured] for measured in suite.rounds],
        "skipped": dict(suite.skipped),
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name in Summary.__slots__
        if (value := getattr(summary, name)) is not None
    }


def save(results: Results) -> Path:
    """Write the document under its date, and also as the latest one. Return the path of the dated file."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_json(results), indent=1, ensure_ascii=False) + "\n"
    dated = DIRECTORY / f"{results.taken_at.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    for path in (dated, DIRECTORY / "latest.json"):
        path.write_text(text, encoding="utf-8")
    return dated
