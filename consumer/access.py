"""The timer that looks at what of Kafka may be used, and which topics there are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from consumer.ports import Refusal, SourceError

LOOK_SECONDS = 5.0


class GuardedSource(Protocol):
    """A source that may be refused."""

    @property
    def missing_topics(self) -> Collection[str]:
        """Topics of ours that did not exist when they were last asked for."""
        ...

    def refusals(self) -> Collection[Refusal]:
        """What Kafka does not let us use."""
        ...

    async def look_at_access(self) -> None:
        """Ask.

        :raises SourceError: nobody answers
        """
        ...


class AccessTelemetry(Protocol):
    """What is told of it."""

    def refused(self, refusals: Collection[Refusal]) -> None:
        """Kafka does not let us use these, and nothing else."""
        ...

    def topics_missing(self, topics: Collection[str]) -> None:
        """These topics do not exist."""
        ...


class AccessTimer:
    """Looks every few seconds, so that what is granted, revoked, created or deleted is noticed while we run."""

    def __init__(self, source: GuardedSource, telemetry: AccessTelemetry) -> None:
        self._source, self._telemetry = source, telemetry

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.turn()
            await asyncio.sleep(LOOK_SECONDS)

    async def turn(self) -> None:
        """Look once. What the group and the fetches have answered counts also while nobody can be asked."""
        with suppress(SourceError):
            await self._source.look_at_access()
        self._telemetry.refused(self._source.refusals())
        self._telemetry.topics_missing(self._source.missing_topics)
