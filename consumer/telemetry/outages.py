"""Outages: whether a server is unavailable, since when, and which problems to log."""

from __future__ import annotations

from consumer.ingest.ports import Cause, Clock

# Stages of one restart: the server shuts down, refuses connections, does not answer, recovers. They count as one
# problem.
_RESTART = frozenset({Cause.CONNECTION, Cause.SHUTDOWN, Cause.SYSTEM, Cause.TIMEOUT})


class Outage:
    """An outage of a server. It begins when the first part of the service reports a problem, and ends when none has
    one.

    Parts can differ: reads may succeed while writes fail.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._parts: set[str] = set()
        self._problems: set[str] = set()

    @property
    def seconds(self) -> float | None:
        """Duration of the outage; None if there is none."""
        return None if self._since is None else self._clock.monotonic() - self._since

    def begin(self, part: str, cause: Cause) -> bool:
        """Record that a part has a problem. Return whether to log it.

        The first problem of an outage is logged, and each one of another kind, such as a lock or a missing privilege.
        The stages of one restart are one kind.
        """
        if self._since is None:
            self._since = self._clock.monotonic()
        self._parts.add(part)
        problem = "restart" if cause in _RESTART else cause
        is_new = problem not in self._problems
        self._problems.add(problem)
        return is_new

    def end(self, part: str) -> float | None:
        """Record that a part works again. If this ends the outage, return its duration in seconds, otherwise None."""
        self._parts.discard(part)
        seconds = self.seconds
        if self._parts or seconds is None:
            return None
        self._since = None
        self._problems.clear()
        return seconds
