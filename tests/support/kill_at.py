"""Runs ragledger and really kills it at the step with the number KILL_AT: python -m tests.support.kill_at COMMAND…

A step is just before a statement is sent to PostgreSQL, just before a COMMIT or after its answer, or just before or
after a call of Kafka. A test counts KILL_AT up from 1 until the command ends by itself; then it was killed once at each
step.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from consumer.__main__ import main

ROOT = Path(__file__).parents[2]
KAFKA_CALLS = {
    AIOKafkaProducer: ("start", "begin_transaction", "commit_transaction", "stop"),
    AIOKafkaConsumer: ("start",),
}


class Steps:
    """Counts steps, and kills the process at one of them."""

    def __init__(self, last: int) -> None:
        self._last, self._count = last, 0

    def step(self) -> None:
        """Count one step."""
        self._count += 1
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Run a statement, with a step before it and, for COMMIT, one after it. Set-up statements are not steps."""

        @wraps(call)
        async def wrapped(connection: Any, sql: str, *args: Any, **kwargs: Any) -> Any:
            if not sql.startswith(("BEGIN", "SET")):
                self.step()
            result = await call(connection, sql, *args, **kwargs)
            if sql.startswith("COMMIT"):
                self.step()
            return result

        return wrapped

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Run a call, with a step before and one after it."""

        @wraps(call)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = await call(*args, **kwargs)
            self.step()
            return result

        return wrapped


def patch(steps: Steps) -> None:
    """Count every statement and every call of Kafka as a step."""
    for name in ("execute", "fetch"):
        setattr(asyncpg.Connection, name, steps.statement(getattr(asyncpg.Connection, name)))
    for client, names in KAFKA_CALLS.items():
        for name in names:
            setattr(client, name, steps.around(getattr(client, name)))


if __name__ == "__main__":
    patch(Steps(int(os.environ["KILL_AT"])))
    sys.argv[0] = "ragledger"
    main()
