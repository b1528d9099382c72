"""Tests the client as an application sees it: its counts add up, each problem is reported once, and no call raises an
error.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import UserDict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from ragledger_client import Ledger, Stats
from ragledger_client._events import Recorded
from ragledger_client._ids import uuid7, with_uuids
from tests.support.service import eventually

# librdkafka's own broker, in this process: events are delivered.
IN_PROCESS = {"test.mock.num.brokers": 1}
# No program listens there: events wait.
NOWHERE = "127.0.0.1:9"
USER, SESSION = uuid4(), uuid4()
QUESTION: dict[str, Any] = {"user_id": USER, "session_id": SESSION, "query": "How many days?"}
SOURCE: dict[str, Any] = {
    "content_id": uuid4(),
    "content_type": "material",
    "source_uri": "https://handbook.example/leave",
    "license_type": "CC-BY-4.0",
    "acquisition_method": "api_fetch",
}
SECRET = "the text of nobody's business"


class Recorder:
    """Records the problems of a ledger, one entry for each report."""

    def __init__(self, **settings: Any) -> None:
        self.problems: list[str] = []
        self.ledger = Ledger(NOWHERE, on_problem=self.problems.append, flush_on_sigterm=False, **settings)

    def reported(self, words: str) -> int:
        """Wait until a problem with these words is reported. Return how often it was reported."""
        eventually(lambda: any(words in one for one in self.problems), timeout=30, message=f"{words}: {self.problems}")
        return sum(words in one for one in self.problems)


@pytest.fixture
def waiting() -> Iterator[Recorder]:
    """Return a ledger whose Kafka is unavailable."""
    recorder = Recorder(max_events=3, max_bytes=10_000)
    yield recorder
    recorder.ledger.close(0)


@pytest.fixture
def delivering() -> Iterator[Recorder]:
    """Return a ledger whose Kafka accepts everything."""
    recorder = Recorder(config=IN_PROCESS)
    yield recorder
    recorder.ledger.close(0)


def answer(ledger: Ledger, text: str = "Ten.", **fields: Any) -> str:
    """Record an answer. Return its id."""
    with ledger.answer(**(QUESTION | fields)) as one:
        one.respond(text, model="gpt-5-mini")
    return one.id


def assert_books(stats: Stats) -> None:
    """Assert that every event is counted exactly once."""
    assert stats.recorded == stats.delivered + stats.waiting + sum(stats.dropped.values())


# ── counts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_that_kafka_acknowledges_are_delivered(delivering: Recorder) -> None:
    """This holds for answers, feedback and provenance. Afterwards no event waits."""
    ledger = delivering.ledger
    ledger.feedback(answer(ledger), +1)
    ledger.provenance(**SOURCE)
    assert ledger.flush(30)
    assert ledger.stats() == Stats(recorded=3, delivered=3, waiting=0, waiting_bytes=0, dropped={})


def test_the_buffer_is_limited_by_events(waiting: Recorder) -> None:
    """Further events are dropped, counted, and reported once."""
    for _ in range(10):
        answer(waiting.ledger)
    stats = waiting.ledger.stats()
    assert (stats.waiting, stats.recorded) == (3, 10)
    assert list(stats.dropped.values()) == [7]
    assert waiting.reported("the buffer is full") == 1
    assert_books(stats)


def test_the_buffer_is_limited_by_bytes(waiting: Recorder) -> None:
    """A character that is not ASCII counts as the bytes that it takes."""
    answer(waiting.ledger, "休" * 3000)
    answer(waiting.ledger, "休" * 3000)
    assert waiting.ledger.stats().waiting == 1
    eventually(lambda: 9000 < waiting.ledger.stats().waiting_bytes < 10_000, message="the events are counted")
    assert waiting.reported("the buffer is full") == 1


def test_a_closed_ledger_accepts_no_events(waiting: Recorder) -> None:
    """At the close, unacknowledged events are counted and reported with their number. Later events are counted and
    reported too.
    """
    answer(waiting.ledger)
    answer(waiting.ledger)
    waiting.ledger.close(0.1)
    answer(waiting.ledger)
    stats = waiting.ledger.stats()
    assert sorted(stats.dropped.values()) == [1, 2]
    assert stats.waiting == 0
    assert_books(stats)
    assert waiting.reported("2 events not acknowledged") == 1


def test_an_outage_is_reported_once(waiting: Recorder) -> None:
    """It is not reported again for each attempt to connect."""
    answer(waiting.ledger)
    assert waiting.reported("Kafka is unreachable") == 1


def test_many_threads_are_counted_correctly(delivering: Recorder) -> None:
    """No event is lost between threads."""

    def work() -> None:
        for _ in range(200):
            answer(delivering.ledger)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert delivering.ledger.flush(60)
    assert delivering.ledger.stats().delivered == 800


# ── problems ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"user_id": "auth0|123"}, "dialogue: user_id: must be a UUID; for other strings give the ledger a namespace"),
        ({"user_id": None}, "dialogue: user_id: required, but missing"),
        ({"query": 1}, "dialogue: query: must be a string"),
        ({"query": f"{SECRET}\0"}, "dialogue: query: holds a NUL character"),
        ({"query": f"{SECRET}\ud800"}, "dialogue: query: holds half of a surrogate pair"),
        ({"latency_ms": float("nan")}, "dialogue: latency_ms: must be a number"),
        ({"temperature": 2.01}, "dialogue: temperature: must be between 0 and 2"),
        ({"created_at": datetime(2026, 1, 1)}, "dialogue: created_at: must have a time zone"),
        ({"citations": [{"source": "s"}, {"title": SECRET}]}, "dialogue: citations[].source: required, but missing"),
        ({"citations": [{"source": "s", "more": object()}]}, "citations: holds a value that JSON cannot represent"),
        ({"citations": SECRET}, "dialogue: citations: must be a list"),
        ({"more": {1, 2}}, "dialogue: more: holds a value that JSON cannot represent"),
        ({"id": "1"}, "dialogue: id: must be a UUID"),
    ],
)
def test_a_wrong_event_is_counted_and_reported_once(delivering: Recorder, fields: dict[str, Any], cause: str) -> None:
    """The report has the path and the problem, never the text. The application gets no exception, and the next event is
    sent.
    """
    for _ in range(3):
        answer(delivering.ledger, **fields)
    answer(delivering.ledger)
    assert delivering.ledger.flush(30)
    stats = delivering.ledger.stats()
    assert list(stats.dropped.values()) == [3]
    assert delivering.reported(cause) == 1
    assert SECRET not in str(delivering.problems)
    assert stats.delivered == 1
    assert_books(stats)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_values_that_raise_errors_when_they_are_read_are_dropped(
    delivering: Recorder, error: type[BaseException]
) -> None:
    """It does not matter which error they raise, in the caller's thread or in the ledger's. The next event is sent."""

    class HostileNumber(Decimal):
        def __str__(self) -> str:
            raise error(SECRET)

    class HostileMapping(dict[str, Any]):
        def keys(self) -> Any:
            raise RuntimeError(SECRET)

        __iter__ = keys

    answer(delivering.ledger, temperature=HostileNumber(1))
    answer(delivering.ledger, cost=HostileMapping(amount=1))
    answer(delivering.ledger)
    assert delivering.ledger.flush(30)
    assert delivering.ledger.stats().delivered == 1
    assert delivering.reported(f"dialogue: {error.__name__} while it was checked") == 1
    assert delivering.reported("dialogue: RuntimeError while it was copied") == 1
    assert SECRET not in str(delivering.problems)
    assert_books(delivering.ledger.stats())


def test_ids_and_times_that_raise_errors_are_dropped(delivering: Recorder) -> None:
    """The call reads them, and raises no exception."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

        __bool__ = __str__

    hostile: Any = Hostile()
    answer(delivering.ledger, id=hostile)
    delivering.ledger.feedback(answer(delivering.ledger), 1, given_at=hostile)
    assert delivering.ledger.flush(30)
    assert delivering.reported("dialogue: id: must be a UUID") == delivering.reported("feedback: given_at: ") == 1
    assert SECRET not in str(delivering.problems)
    assert_books(delivering.ledger.stats())


def test_the_number_of_causes_is_limited(delivering: Recorder) -> None:
    """A cause has the names of unknown fields, and an application may make names without end."""
    for number in range(250):
        fields: dict[str, Any] = {f"field_{number}": object()}
        answer(delivering.ledger, **fields)
    assert delivering.ledger.flush(30)
    dropped = delivering.ledger.stats().dropped
    assert (len(dropped), dropped["other causes"]) == (201, 50)


def test_events_that_no_thread_has_checked_are_counted_at_the_close(
    waiting: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong ones are counted with the others, because there is no time to check them."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)  # as Python does while it shuts down
    waiting.ledger.feedback("1", +1)
    answer(waiting.ledger)
    waiting.ledger.close(0)
    assert waiting.ledger.stats() == Stats(2, 0, 0, 0, {"not acknowledged by Kafka before the ledger was closed": 2})


def test_a_callback_that_fails_does_not_stop_sending(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next event is sent."""

    def fail(_problem: str) -> None:
        raise RuntimeError

    ledger = Ledger(NOWHERE, config=IN_PROCESS, on_problem=fail, flush_on_sigterm=False)
    ledger.feedback("1", +1)
    ledger.feedback(uuid4(), +1)
    assert ledger.flush(30)
    ledger.close()
    assert ledger.stats().delivered == 1
    assert "on_problem has failed" in caplog.text


def test_problems_are_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    """They are warnings of the logger `ragledger_client`."""
    ledger = Ledger(NOWHERE, config=IN_PROCESS, flush_on_sigterm=False)
    ledger.feedback("1", +1)
    ledger.close()
    (record,) = [one for one in caplog.records if one.name == "ragledger_client"]
    assert (record.levelno, record.message) == (logging.WARNING, "dropped: feedback: dialogue_id: must be a UUID")


def test_a_record_that_kafka_does_not_accept_is_counted(delivering: Recorder) -> None:
    """In this test, the record is larger than a message may be."""
    answer(delivering.ledger, "x" * 2_000_000)
    assert delivering.reported("rag.dialogue: Kafka refuses it: MSG_SIZE_TOO_LARGE") == 1
    assert_books(delivering.ledger.stats())


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_block_without_an_answer_is_counted(delivering: Recorder) -> None:
    """The exception of a block is raised again. A second answer in one block is dropped and counted too."""
    ledger = delivering.ledger
    with ledger.answer(**QUESTION):
        pass
    with pytest.raises(KeyError), ledger.answer(**QUESTION):
        raise KeyError
    with ledger.answer(**QUESTION) as one:
        one.respond("a", model="m")
        one.respond("b", model="m")
    assert ledger.flush(30)
    assert list(ledger.stats().dropped.values()) == [1, 1, 1]
    assert ledger.stats().delivered == 1


async def test_async_with_is_the_same(delivering: Recorder) -> None:
    """Leaving the block waits for nothing."""
    async with delivering.ledger.answer(**QUESTION) as one:
        one.respond("a", model="m")
    assert delivering.ledger.flush(30)
    assert delivering.ledger.stats().delivered == 1


def test_latency_is_the_time_from_the_beginning_of_the_block(
    delivering: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the answer. If the application gives a latency, that one is stored."""
    recorded: list[Recorded] = []
    monkeypatch.setattr(delivering.ledger._sender, "put", recorded.append)
    seconds = iter([1.0, 2.0, 2.25, 10.0, 10.0, 10.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    answer(delivering.ledger)
    answer(delivering.ledger, latency_ms=7)
    assert [one.fields["latency_ms"] for one in recorded] == [250, 7]


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_values_that_change_after_the_call_do_not_change_the_event(
    delivering: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application may reuse its dicts and lists as soon as the call returns."""
    ledger, recorded = delivering.ledger, list[Recorded]()
    monkeypatch.setattr(ledger._sender, "put", recorded.append)
    pages = [1]
    citation: dict[str, Any] = {"source": "s", "more": UserDict(pages=pages)}
    citations, cost = [citation], {"amount": 1, "currency": "JPY"}
    answer(ledger, citations=citations, cost=cost)
    pages.append(2)
    citation |= {"source": 1, "more": SECRET}
    citations.append(citation)
    cost.clear()
    event = json.loads(ledger._encode(recorded[0]).value)
    assert event["citations"] == [{"source": "s", "more": {"pages": [1]}}]
    assert event["cost"] == {"amount": 1, "currency": "JPY"}


def nested(levels: int) -> Any:
    """Return a list of lists, with so many levels."""
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


def test_events_may_be_nested_deep(delivering: Recorder) -> None:
    """This is so even if the application's own calls are close to Python's limit."""

    def call(depth: int) -> None:
        if depth:
            call(depth - 1)
        else:
            answer(delivering.ledger, more=nested(499))
            answer(delivering.ledger, more=nested(500))

    call(700)
    assert delivering.ledger.flush(30)
    assert delivering.ledger.stats().dropped == {"dialogue: more: nested deeper than 500 levels": 1}
    assert delivering.ledger.stats().delivered == 1


def cycle(copies: int) -> Any:
    """Return a list that contains itself."""
    found: list[Any] = []
    found += [{"again": found}] * copies
    return found


def laughs() -> Any:
    """Return a list that contains so many lists that they cannot all be copied."""
    found: list[Any] = ["ha"]
    for _ in range(100):
        found = [found] * 10
    return found


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (cycle(1), "nested deeper than 500 levels"),
        (cycle(2), "makes the event larger than max_bytes"),
        (laughs(), "makes the event larger than max_bytes"),
        ([[0] * 1000] * 1000, "makes the event larger than max_bytes"),
        ("x" * 100_000, "makes the event larger than max_bytes"),
        ({"x" * 100_000: 1}, "makes the event larger than max_bytes"),
    ],
)
def test_values_without_an_end_are_refused(value: Any, problem: str) -> None:
    """The call ends soon, and uses at most `max_bytes`."""
    recorder = Recorder(max_bytes=100_000)
    answer(recorder.ledger, more=value)
    assert list(recorder.ledger.stats().dropped.values()) == [1]
    assert recorder.reported(f"dropped: dialogue: more: {problem}") == 1
    assert recorder.ledger.stats().waiting_bytes == 0
    recorder.ledger.close(0)


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"config": {"acks": 1}}, "acks has to be 'all'"),
        ({"config": {"enable.idempotence": False}}, "enable.idempotence has to be True"),
        ({"config": {"no.such": 1}}, 'No such configuration property: "no.such"'),
        ({"namespace": "mine"}, "namespace: must be a UUID"),
        ({"topics": {"dialog": "t"}}, "topics: dialog must be one of dialogue, feedback, provenance"),
        ({"max_events": 0}, "max_events"),
    ],
)
def test_a_wrong_setting_is_refused_at_the_start(settings: dict[str, Any], problem: str) -> None:
    """The error has the setting's name. At the start, a person is there to read it."""
    with pytest.raises(ValueError, match=problem):
        Ledger(NOWHERE, **settings)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ids_grow_with_time() -> None:
    """They have version 7 and the variant of RFC 9562. They begin with milliseconds, then the fraction of a
    millisecond.
    """
    first, second = UUID(uuid7(1_700_000_000_123_000_000)), UUID(uuid7(1_700_000_000_123_000_500))
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first.int >> 80 == 1_700_000_000_123
    assert first < second
    assert len({uuid7(0) for _ in range(1000)}) == 1000


def test_a_string_becomes_the_uuid_that_the_service_makes() -> None:
    """It is version 5 of "user:" or "session:" and the string. A UUID stays as it is."""
    namespace, fields = uuid4(), {"user_id": "user", "session_id": "session"}
    event = {"user_id": "auth0|123", "session_id": str(SESSION).upper()}
    assert with_uuids(fields, namespace, event) == {
        "user_id": uuid5(namespace, "user:auth0|123"),
        "session_id": str(SESSION).upper(),
    }


def test_with_a_namespace_strings_are_ids() -> None:
    """An empty string, or one that cannot be encoded, is not an id."""
    ledger = Ledger(NOWHERE, config=IN_PROCESS, namespace=uuid4(), flush_on_sigterm=False)
    answer(ledger, user_id="auth0|123", session_id="s-1")
    for wrong in ("", "\ud800", "a\0", "x" * 1025):
        answer(ledger, user_id=wrong)
    assert ledger.flush(30)
    ledger.close()
    assert ledger.stats().delivered == 1
    assert sum(ledger.stats().dropped.values()) == 4
