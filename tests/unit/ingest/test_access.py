"""What Kafka refuses is told when it begins and when it is over, also while nobody can be asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.ingest.access import AccessJob
from consumer.ingest.ports import Refusal, SourceError
from tests.support.scope import Scope
from tests.support.world import A

Lines = list[MutableMapping[str, Any]]
TOPIC = Refusal("topic", "rag.dialogue", "not authorized", "grant it")


class Guard:
    """A source that is refused something, and may not be asked."""

    def __init__(self) -> None:
        self.missing_topics: Collection[str] = ()
        self.refused: list[Refusal] = []

    def refusals(self) -> Collection[Refusal]:
        return self.refused

    async def look_at_access(self) -> None:
        raise SourceError("nobody answers")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged."""
    with capture_logs() as logged:
        yield logged


async def test_a_refusal_is_told_once_and_when_it_is_over(lines: Lines) -> None:
    """With the command that ends it, and as a series of its own while it lasts."""
    scope, guard = Scope(), Guard()
    job = AccessJob(guard, scope.telemetry)
    guard.refused = [TOPIC]
    for _ in range(3):
        await job.run_once()
    assert [(line["event"], line["name"], line["fix"]) for line in lines] == [
        ("kafka_refuses", "rag.dialogue", "grant it")
    ]
    assert scope.value("rag_kafka_refused", type="topic", resource="rag.dialogue") == 1
    guard.refused = []
    await job.run_once()
    assert lines[-1]["event"] == "kafka_permits"
    assert scope.value("rag_kafka_refused", type="topic", resource="rag.dialogue") is None


async def test_missing_topics_are_told_as_they_go_missing(lines: Lines) -> None:
    """Also one that is deleted while we run; and again when it is deleted again."""
    guard = Guard()
    job = AccessJob(guard, Scope().telemetry)
    for missing in (["a"], ["a"], ["a", "b"], ["b"], ["a", "b"]):
        guard.missing_topics = missing
        await job.run_once()
    assert [line["topics"] for line in lines] == [["a"], ["b"], ["a"]]


def test_a_long_transaction_is_told_once(lines: Lines) -> None:
    """A short one is how producers work; the next long one is news."""
    scope = Scope()
    for seconds in (1.0, 59.0, 61.0, 300.0, 0.0, 100.0):
        scope.telemetry.held_back(A, 7, seconds)
    assert [(line["event"], line["seconds"]) for line in lines] == [("transaction_open", 61), ("transaction_open", 100)]
    assert scope.value("rag_open_transaction_seconds", topic=A.topic, partition=str(A.partition)) == 100
