"""Tests replicas that are killed while the spans of many traces arrive in records of any size."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from consumer.events.otlp.kinds import Signal
from tests.faults.scene import let_time_pass
from tests.support.otlp import as_json, fold, record, staged, traced
from tests.support.producers import produce
from tests.support.service import Environment, ServiceProcess, eventually

pytestmark = pytest.mark.timeout(600)

TRACES, KILLS = 600, 4
COLUMNS = ("user_id", "session_id", "query", "response", "model_used", "latency_ms", "prompt_tokens", "total_tokens")


def records_of(spans: list[Span], chance: random.Random) -> Iterator[bytes]:
    """Yield all spans, shuffled and cut into records of any size; a tenth of the records comes twice."""
    chance.shuffle(spans)
    while spans:
        size = chance.choice((1, 1, 2, 5, 30))
        value = record(*spans[:size])
        del spans[:size]
        yield value
        if chance.random() < 0.1:
            yield value


def test_every_trace_is_one_dialogue_although_replicas_are_killed(
    database: str,
    bootstrap_servers: str,
    topic_factory: Callable[..., str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """One of two replicas is killed again and again while spans arrive. Each dialogue is compared field by field."""
    chance = random.Random(int(request.config.getoption("--faults-seed")))
    topics = {"otlp_spans": topic_factory(partitions=4, prefix="spans")}
    quick = {"RAGLEDGER_OTLP__QUIET_S": "1", "RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000"}
    environment = Environment(database, bootstrap_servers, topics, **quick)
    traces = dict(traced(chance) for _ in range(TRACES))
    values = list(records_of([span for spans in traces.values() for span in spans], chance))
    portions = [values[place :: KILLS + 1] for place in range(KILLS + 1)]
    with ServiceProcess(environment, tmp_path / "stays"):
        for number, portion in enumerate(portions):
            with ServiceProcess(environment, tmp_path / f"killed-{number}") as replica:
                replica.wait_ready()
                produce(bootstrap_servers, [(topics["otlp_spans"], value) for value in portion])
                let_time_pass(chance.uniform(0.0, 1.5))
                replica.kill()
        environment.assert_caught_up(timeout=120)
        eventually(
            lambda: environment.value("SELECT count(*) FROM touched_traces") == 0,
            timeout=120,
            message="all traces are folded",
        )
    assert_exact(environment, traces)
    assert environment.accounted_for() == len(values)


def assert_exact(environment: Environment, traces: dict[UUID, list[Span]]) -> None:
    """Assert that each trace is one dialogue, folded from all of its spans, and that there are no others."""
    found = {row["id"]: row for row in environment.query("SELECT * FROM ai_dialogue_log")}
    assert found.keys() == traces.keys()
    for trace, spans in traces.items():
        wanted = as_json(fold(trace, staged([(Signal.SPANS, record(*spans))])[trace]))
        assert {name: plain(found[trace][name]) for name in COLUMNS} == {name: wanted[name] for name in COLUMNS}
        assert str(found[trace]["created_at"]) == wanted["created_at"]
        sources = [citation["source"] for citation in found[trace]["citations"]]
        assert sources == [citation["source"] for citation in wanted["citations"]]
    assert environment.value("SELECT count(*) FROM dialogue_traces WHERE spans = 4") == len(traces)
    assert environment.value("SELECT count(*) FROM staged_spans") == 4 * len(traces)
    assert environment.value("SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL") == 0


def plain(value: Any) -> Any:
    """Return a column in the form of the expectation."""
    return value if isinstance(value, int) else json.loads(json.dumps(value, default=str))
