"""A token, kept until shortly before it expires, and obtained once for all who wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from consumer.credentials.errors import CredentialsError
from consumer.credentials.expiry import seconds_left

EARLY_SECONDS, EARLY_SHARE = 60.0, 0.2
PAUSE_SECONDS = 5.0
PATIENCE_SECONDS = 1.0
SHORTEST_SECONDS = 1.0  # a clock may be wrong, and then each token looks as if it had expired

Obtain: TypeAlias = Callable[[], Awaitable[tuple[str, float | None]]]
"""Obtains a token; the token, and for how many seconds it is valid if that is known.

:raises CredentialsError: there is none now
"""


class TokenSource:
    """Keeps one token. ::

        none ──token()──► obtained ──early──► obtained again, the old one kept while it is valid
                             │ rejected() by a server, if it is not new
                             ▼
                            none

    After a failure the error is repeated for `PAUSE_SECONDS`; then the next who asks tries again. Nobody waits longer
    than `PATIENCE_SECONDS` where there is something to use or to say meanwhile. Whoever is cancelled does not cancel
    what others wait for.

    :param ttl: seconds for which a token that does not say when it expires is used
    """

    def __init__(self, obtain: Obtain, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._obtain, self._ttl, self._clock = obtain, ttl, clock
        self._value = ""
        self._obtained_at = self._renew_at = self._valid_until = self._try_at = clock()
        self._failure = ""
        self._running: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """The token.

        :raises CredentialsError: there is none now
        """
        if not self._value or self._clock() >= self._renew_at:
            has_spare = bool(self._value) and self._clock() < self._valid_until
            await self._renewed(PATIENCE_SECONDS if has_spare or self._failure else None)
        if not self._is_valid():
            raise CredentialsError(self._failure)
        return self._value

    def rejected(self) -> None:
        """A server has not taken it: obtain another, unless this one has just been obtained."""
        if self._value and self._clock() - self._obtained_at >= PAUSE_SECONDS:
            self._value = ""

    def _is_valid(self) -> bool:
        return bool(self._value) and (not self._failure or self._clock() < self._valid_until)

    async def _renewed(self, patience: float | None) -> None:
        """Wait until another is obtained; with `patience` no longer than so many seconds."""
        if self._failure and self._clock() < self._try_at:
            return
        running = self._running
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            running = self._running = asyncio.create_task(self._renew(), name="token")
        await asyncio.wait({running}, timeout=patience)
        if running.done():
            running.result()

    async def _renew(self) -> None:
        try:
            value, seconds = await self._obtain()
        except CredentialsError as error:
            self._failure, self._try_at = str(error), self._clock() + PAUSE_SECONDS
            return
        if seconds is None:
            seconds = seconds_left(value, time.time())
        seconds = self._ttl if seconds is None else seconds
        self._value, self._failure, self._obtained_at = value, "", self._clock()
        self._valid_until = self._obtained_at + seconds
        early = min(EARLY_SECONDS, EARLY_SHARE * seconds)
        self._renew_at = self._obtained_at + max(seconds - early, SHORTEST_SECONDS)
