"""Measures how long the Python client blocks its caller: `python -m bench.client`.

For comparison, it also measures `json.dumps` of the same event. The broker is librdkafka's mock broker in the same
process, so the sender's thread also works and competes for Python's global interpreter lock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import quantiles
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from ragledger_client import Ledger

CALLS = 5000
CITATIONS = [{"source": f"https://handbook.example/{n}", "title": "Annual leave", "confidence": 0.87} for n in range(3)]
QUERY, RESPONSE = "How many days of leave can I carry over? " * 3, "Up to ten days, until the end of March. " * 40


def main() -> None:
    """Measure and print a table, in microseconds."""
    table = Table("what", "median", "p95", "p99", title="The caller's time in µs")
    for what, work in (("ledger.answer and respond", record()), ("json.dumps of the event", dump())):
        cuts = quantiles(measured(work), n=100)
        table.add_row(what, *(f"{cuts[place] * 1e6:.1f}" for place in (49, 94, 98)))
    Console().print(table)


def measured(work: Callable[[], object]) -> list[float]:
    """The seconds of each call. A pause follows each call, like a service that waits for its model."""
    work()
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
        time.sleep(0.0005)
    return seconds


def record() -> Callable[[], None]:
    """Record an answer of 2 KB with three citations."""
    ledger, user, session = Ledger("localhost:9092", config={"test.mock.num.brokers": 1}), uuid4(), uuid4()

    def work() -> None:
        with ledger.answer(user_id=user, session_id=session, query=QUERY) as answer:
            answer.respond(RESPONSE, model="gpt-5-mini", citations=CITATIONS, prompt_tokens=1599, completion_tokens=156)

    return work


def dump() -> Callable[[], str]:
    """Encode the same event."""
    event = {"id": str(uuid4()), "user_id": str(uuid4()), "session_id": str(uuid4()), "query": QUERY}
    event |= {"response": RESPONSE, "model_used": "gpt-5-mini", "created_at": "2026-01-31T09:30:00.123456+00:00"}
    members = event | {"citations": CITATIONS, "prompt_tokens": 1599, "completion_tokens": 156, "latency_ms": 840}
    return lambda: json.dumps(members, ensure_ascii=False)


if __name__ == "__main__":
    main()
