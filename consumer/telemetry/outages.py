"""Outages: whether a server is away, since when, and what of it is news."""

from __future__ import annotations

from consumer.ingest.ports import Cause, Clock

# A server that goes away and comes back shuts down, refuses connections, answers nothing, and recovers: one story.
_AWAY = frozenset({Cause.CONNECTION, Cause.SHUTDOWN, Cause.SYSTEM, Cause.TIMEOUT})


class Outage:
    """A server that is away, as our parts see it: begun by the first that complains, over when all are content.

    A part may be content while another is not: questions can be answered while nothing can be written.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None
        self._parts: set[str] = set()
        self._remedies: set[str] = set()

    @property
    def seconds(self) -> float | None:
        """How long it lasts; None where there is none."""
        return None if self._since is None else self._clock.monotonic() - self._since

    def begin(self, part: str, cause: Cause) -> bool:
        """A part complains; whether that is news.

        The first complaint of an outage is, and each that asks for another remedy: a lock, a missing privilege. The
        stages of one restart are not.
        """
        if self._since is None:
            self._since = self._clock.monotonic()
        self._parts.add(part)
        remedy = "away" if cause in _AWAY else cause
        is_news = remedy not in self._remedies
        self._remedies.add(remedy)
        return is_news

    def end(self, part: str) -> float | None:
        """A part is content; how many seconds the outage has lasted where that ends it, else None."""
        self._parts.discard(part)
        seconds = self.seconds
        if self._parts or seconds is None:
            return None
        self._since = None
        self._remedies.clear()
        return seconds
