"""Tests that each refusal of Kafka is logged at its beginning and at its end, even while Kafka does not answer."""

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


class RestrictedSource:
    """A source that Kafka refuses something, and that gets no answer when it checks its access."""

    def __init__(self) -> None:
        self.missing_topics: Collection[str] = ()
        self.refused: list[Refusal] = []

    def refusals(self) -> Collection[Refusal]:
        return self.refused

    async def look_at_access(self) -> None:
        raise SourceError("Kafka does not answer")


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Return the log lines."""
    with capture_logs() as logged:
        yield logged


async def test_a_refusal_is_logged_once_and_when_it_ends(lines: Lines) -> None:
    """The log line has the command that ends the refusal. A metric series exists while it lasts."""
    scope, source = Scope(), RestrictedSource()
    job = AccessJob(source, scope.telemetry)
    source.refused = [TOPIC]
    for _ in range(3):
        await job.run_once()
    assert [(line["event"], line["name"], line["fix"]) for line in lines] == [
        ("kafka_refuses", "rag.dialogue", "grant it")
    ]
    assert scope.value("rag_kafka_refused", type="topic", resource="rag.dialogue") == 1
    source.refused = []
    await job.run_once()
    assert lines[-1]["event"] == "kafka_permits"
    assert scope.value("rag_kafka_refused", type="topic", resource="rag.dialogue") is None


async def test_missing_topics_are_logged_when_they_go_missing(lines: Lines) -> None:
    """A topic that is deleted later is logged too, and logged again if it is deleted again."""
    source = RestrictedSource()
    job = AccessJob(source, Scope().telemetry)
    for missing in (["a"], ["a"], ["a", "b"], ["b"], ["a", "b"]):
        source.missing_topics = missing
        await job.run_once()
    assert [line["topics"] for line in lines] == [["a"], ["b"], ["a"]]


def test_a_long_transaction_is_logged_once(lines: Lines) -> None:
    """A short transaction is normal for producers and is not logged. The next long one is logged again."""
    scope = Scope()
    for seconds in (1.0, 59.0, 61.0, 300.0, 0.0, 100.0):
        scope.telemetry.held_back(A, 7, seconds)
    assert [(line["event"], line["seconds"]) for line in lines] == [("transaction_open", 61), ("transaction_open", 100)]
    assert scope.value("rag_open_transaction_seconds", topic=A.topic, partition=str(A.partition)) == 100
