"""Keeps a token until shortly before it expires, and obtains a new one once for all waiting callers."""

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
SHORTEST_SECONDS = 1.0  # if the clock is wrong, each token may look expired

Obtain: TypeAlias = Callable[[], Awaitable[tuple[str, float | None]]]
"""Obtains a token. Returns it, and for how many seconds it is valid; None if that is unknown.

:raises CredentialsError: no token can be obtained now
"""


class TokenSource:
    """Keeps one token. ::

        none ──token()──► obtained ──early──► obtained again, the old one kept while it is valid
                             │ rejected() by a server, if it is not new
                             ▼
                            none

    After a failure, calls raise the same error for `PAUSE_SECONDS`; then the next call tries again. If there is a valid
    token or an error to return, a call waits for at most `PATIENCE_SECONDS`. A cancelled call does not cancel the
    request for which other calls wait.

    :param ttl: the seconds for which a token without an expiry is used
    """

    def __init__(self, obtain: Obtain, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._obtain, self._ttl, self._clock = obtain, ttl, clock
        self._value = ""
        self._obtained_at = self._renew_at = self._valid_until = self._try_at = clock()
        self._failure = ""
        self._running: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """Return a valid token, and obtain a new one if necessary.

        :raises CredentialsError: no token is available now
        """
        if not self._value or self._clock() >= self._renew_at:
            has_spare = bool(self._value) and self._clock() < self._valid_until
            await self._renewed(PATIENCE_SECONDS if has_spare or self._failure else None)
        if not self._is_valid():
            raise CredentialsError(self._failure)
        return self._value

    def rejected(self) -> None:
        """A server has rejected the token: drop it, unless it has just been obtained."""
        if self._value and self._clock() - self._obtained_at >= PAUSE_SECONDS:
            self._value = ""

    def _is_valid(self) -> bool:
        return bool(self._value) and (not self._failure or self._clock() < self._valid_until)

    async def _renewed(self, patience: float | None) -> None:
        """Wait until a new token is obtained, for at most `patience` seconds."""
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
