"""Applications that use the client: `python -m tests.support.client_program SCENARIO`.

The environment has the address of Kafka (`SERVERS`), the topics (`TOPICS`, as JSON) and the options of the ledger
(`LEDGER`). Each process prints one line of JSON for each event or result. `application` is for gunicorn.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any
from uuid import uuid4

from ragledger_client import Ledger

USER = uuid4()
EVENTS = 50


def make_ledger(**settings: Any) -> Ledger:
    """Return the ledger with the options of the environment."""
    topics, given = json.loads(os.environ["TOPICS"]), json.loads(os.environ.get("LEDGER", "{}"))
    return Ledger(os.environ["SERVERS"], topics=topics, **{"flush_timeout_s": 100, **given, **settings})


def say(**members: Any) -> None:
    """Write a line of JSON at once, so that lines of several processes are not mixed."""
    os.write(1, f"{json.dumps(members)}\n".encode())


def answer(ledger: Ledger) -> str:
    """Record an answer. Return its id."""
    with ledger.answer(user_id=USER, session_id=uuid4(), query="How many days?") as one:
        one.respond("Ten.", model="gpt-5-mini")
    return one.id


def record(ledger: Ledger, count: int = EVENTS) -> None:
    """Record answers and print their ids."""
    say(pid=os.getpid(), ids=[answer(ledger) for _ in range(count)])


def set_at_line(is_over: threading.Event) -> None:
    """Set the event when the test sends a line."""
    sys.stdin.readline()
    is_over.set()


# ── scenarios ────────────────────────────────────────────────────────────────────────────────────────────────────────


def forking() -> None:
    """Record in children of multiprocessing, and in a child of a child, while the parent's events wait."""
    ledger, context = make_ledger(), multiprocessing.get_context("fork")
    record(ledger)

    def child(depth: int) -> None:
        record(ledger)
        if depth:
            grandchild = context.Process(target=child, args=(depth - 1,))
            grandchild.start()
            record(ledger)
            grandchild.join()

    children = [context.Process(target=child, args=(1,)) for _ in range(2)]
    for one in children:
        one.start()
    record(ledger)
    for one in children:
        one.join()
    say(codes=[one.exitcode for one in children])


def forking_with_threads() -> None:
    """Call `os.fork` in one thread while others record and librdkafka sends; children end by themselves."""
    ledger, is_over = make_ledger(), threading.Event()

    def work() -> None:
        ids = []
        while not is_over.is_set():
            ids.append(answer(ledger))
            is_over.wait(0.001)
        say(pid=os.getpid(), ids=ids)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    codes = []
    for _ in range(20):
        if (pid := os.fork()) == 0:
            record(ledger, 5)
            sys.exit(0 if ledger.flush(100) else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    is_over.set()
    for one in threads:
        one.join()
    say(codes=codes)


def _say_and_exit(number: int, frame: FrameType | None) -> None:
    say(handled=number)
    sys.exit(3)


def _say_and_die(number: int, frame: FrameType | None) -> None:
    say(handled=number)
    os._exit(4)


def sigterm(handler: Callable[[int, FrameType | None], None] | None) -> None:
    """Record events that wait, until SIGTERM ends the process."""
    if handler:
        signal.signal(signal.SIGTERM, handler)
    record(make_ledger(config={"linger.ms": 1000}))
    while True:
        signal.pause()


def at_exit() -> None:
    """Record, and end."""
    record(make_ledger(config={"linger.ms": 1000}))


def outage() -> None:
    """Record continuously until the test sends a line."""
    ledger, is_over = make_ledger(), threading.Event()
    threading.Thread(target=set_at_line, args=(is_over,), daemon=True).start()
    ids = []
    while not is_over.is_set():
        ids.append(answer(ledger))
        is_over.wait(0.01)
    say(ids=ids, is_flushed=ledger.flush(60), stats=ledger.stats()._asdict())


SCENARIOS: dict[str, Callable[[], None]] = {
    "at_exit": at_exit,
    "forking": forking,
    "forking_with_threads": forking_with_threads,
    "outage": outage,
    "sigterm": lambda: sigterm(None),
    "sigterm_exit": lambda: sigterm(_say_and_exit),
    "sigterm_die": lambda: sigterm(_say_and_die),
}


# ── gunicorn ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LEDGER = make_ledger() if "TOPICS" in os.environ and __name__ != "__main__" else None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Record an answer. Return its id and the worker's pid."""
    assert LEDGER is not None
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"id": answer(LEDGER), "pid": os.getpid()}).encode()]


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
