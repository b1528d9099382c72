"""The timer that looks at what of Kafka may be used, and which topics there are."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from consumer.ingest.ports import Refusal, SourceError

TELL_SECONDS = 1.0
TURNS_A_LOOK = 5


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
    """Where changes of access are reported."""

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
        """Look and tell, for ever."""
        for turn in itertools.count():
            await self.turn(asks=turn % TURNS_A_LOOK == 0)
            await asyncio.sleep(TELL_SECONDS)

    async def turn(self, *, asks: bool = True) -> None:
        """Tell what the group and the fetches have answered, which counts also while nobody can be asked."""
        if asks:
            with suppress(SourceError):
                await self._source.look_at_access()
        self._telemetry.refused(self._source.refusals())
        self._telemetry.topics_missing(self._source.missing_topics)
