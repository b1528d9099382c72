"""PostgreSQL's protocol (the manual's chapter "Frontend/Backend Protocol"), with traps that hold a message.

Without TLS every message is readable, so a fault can be timed to a step of a flush without help from the service.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.faults.loop import LoopThread
from tests.faults.proxy import Direction, Proxy, Tap

_ENCRYPTION_REQUESTS = {80877103, 80877104}  # SSLRequest, GSSENCRequest


class Step(Enum):
    """The steps of a flush: the message that is held when its trap is triggered."""

    BEGIN = "before the transaction"
    COPY = "inside COPY"
    LEDGER = "before the ledger moves"
    COMMIT = "before COMMIT"
    COMMITTED = "between COMMIT and its answer"


class Trap:
    """Is triggered once, when a step occurs for the nth time: the message is held until it is released."""

    def __init__(self, thread: LoopThread, step: Step, nth: int) -> None:
        self.step, self._thread, self._left = step, thread, nth
        self._triggered, self._released = threading.Event(), asyncio.Event()
        self._forward = False

    def wait(self, seconds: float) -> None:
        """Wait until the step is reached.

        Raises:
            TimeoutError: it was not reached.
        """
        if not self._triggered.wait(seconds):
            raise TimeoutError(f"not within {seconds} s: {self.step.value}")

    def let_pass(self) -> None:
        """Release the message."""
        self._release(forward=True)

    def drop(self) -> None:
        """Drop the message and reset the connection."""
        self._release(forward=False)

    def _release(self, *, forward: bool) -> None:
        self._forward, self._left = forward, 0  # a trap that was not triggered never will be
        self._thread.call(self._released.set)

    def reaches(self, step: Step) -> bool:
        """Count a step. Return whether the trap is triggered now."""
        if step is not self.step or self._triggered.is_set():
            return False
        self._left -= 1
        return self._left == 0

    async def trigger(self) -> bool:
        """Hold the message. Return whether to send it."""
        self._triggered.set()
        await self._released.wait()
        return self._forward


class PostgresProxy(Proxy):
    """A proxy in front of PostgreSQL."""

    def __init__(self, thread: LoopThread, upstream_port: int) -> None:
        super().__init__(thread, upstream_port, self._tap)
        self._loop_thread = thread
        self._trap: Trap | None = None

    def set_trap(self, step: Step, nth: int = 1) -> Trap:
        """Set the only trap, on every connection through this proxy."""
        trap = Trap(self._loop_thread, step, nth)
        self._loop_thread.call(lambda: setattr(self, "_trap", trap))
        return trap

    def _tap(self, abort: Callable[[], None]) -> Tap:
        return _PostgresTap(lambda: self._trap, abort)


@dataclass
class _Session:
    """The state of one session."""

    statements: dict[bytes, bytes] = field(default_factory=dict)
    flushes: bool = False

    def step(self, direction: Direction, kind: bytes, body: bytes) -> Step | None:
        """Return the step of a flush that a message is; None if it is none."""
        return self._backend(kind, body) if direction is Direction.TO_CLIENT else self._frontend(kind, body)

    def _backend(self, kind: bytes, body: bytes) -> Step | None:
        return Step.COMMITTED if kind == b"C" and body == b"COMMIT\0" and self.flushes else None

    def _frontend(self, kind: bytes, body: bytes) -> Step | None:
        if kind == b"Q":
            return self._query(body)
        if kind == b"d":
            return Step.COPY
        if kind == b"P":
            name, statement, _ = body.split(b"\0", 2)
            self.statements[name] = statement
        if kind == b"B" and b"UPDATE ingest_ledger" in self.statements.get(body.split(b"\0", 2)[1], b""):
            self.flushes = True
            return Step.LEDGER
        return None

    def _query(self, body: bytes) -> Step | None:
        if body.startswith(b"BEGIN"):
            self.flushes = False
            return Step.BEGIN
        self.flushes |= body.startswith(b"COPY")
        return Step.COMMIT if body.startswith(b"COMMIT") and self.flushes else None


class _PostgresTap(Tap):
    """Splits the bytes into messages, and shows each to the trap."""

    def __init__(self, trap: Callable[[], Trap | None], abort: Callable[[], None]) -> None:
        self._trap, self._abort = trap, abort
        self._session = _Session()
        self._rest = dict.fromkeys(Direction, b"")
        self._is_started = False
        self._bare_answers = 0

    async def pieces(self, direction: Direction, data: bytes) -> AsyncIterator[bytes]:
        """Yield complete messages, as many at a time as may pass."""
        data = self._rest[direction] + data
        done = place = 0
        while size := self._size(direction, data, place):
            step, trap = self._step(direction, data[place : place + size]), self._trap()
            if step and trap and trap.reaches(step):
                yield data[done:place]
                done = place
                if not await trap.trigger():
                    self._abort()
                    return
            place += size
        self._rest[direction] = data[place:]
        yield data[done:place]

    def _size(self, direction: Direction, data: bytes, place: int) -> int:
        """Return the number of bytes of the message that begins here; 0 if it is not complete."""
        if direction is Direction.TO_CLIENT and self._bare_answers:
            return min(1, len(data) - place)
        head = 1 if self._has_type(direction) else 0
        if len(data) < place + head + 4:
            return 0
        size = head + int(struct.unpack_from("!i", data, place + head)[0])
        return size if len(data) >= place + size else 0

    def _has_type(self, direction: Direction) -> bool:
        """Return whether the message has a type byte; only a client's first message has none."""
        return self._is_started or direction is Direction.TO_CLIENT

    def _step(self, direction: Direction, message: bytes) -> Step | None:
        if direction is Direction.TO_CLIENT and self._bare_answers:
            self._bare_answers -= 1
            return None
        if not self._has_type(direction):
            self._start(message)
            return None
        return self._session.step(direction, message[:1], message[5:])

    def _start(self, message: bytes) -> None:
        """Handle a client that asks for encryption: the answer is a single byte, and then the client starts again."""
        if struct.unpack_from("!i", message, 4)[0] in _ENCRYPTION_REQUESTS:
            self._bare_answers += 1
        else:
            self._is_started = True
