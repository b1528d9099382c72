"""The periodic job that checks the access to Kafka's topics and group, and which topics exist."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

from consumer.ingest.ports import Refusal, SourceError

ACCESS_SECONDS = 1.0
RUNS_PER_QUESTION = 5


class GuardedSource(Protocol):
    """A source whose topics and group Kafka may refuse."""

    @property
    def missing_topics(self) -> Collection[str]:
        """The configured topics that did not exist at the last check."""
        ...

    def refusals(self) -> Collection[Refusal]:
        """The resources that Kafka refuses."""
        ...

    async def look_at_access(self) -> None:
        """Ask Kafka.

        :raises SourceError: no broker answers
        """
        ...


class AccessTelemetry(Protocol):
    """Where changes of access are reported."""

    def refused(self, refusals: Collection[Refusal]) -> None:
        """Kafka refuses these resources, and no others."""
        ...

    def topics_missing(self, topics: Collection[str]) -> None:
        """These topics do not exist."""
        ...


class AccessJob:
    """Reports every second what Kafka refuses and which topics are missing; asks Kafka every few seconds."""

    def __init__(self, source: GuardedSource, telemetry: AccessTelemetry) -> None:
        self._source, self._telemetry = source, telemetry
        self._runs = 0

    async def run_once(self) -> None:
        """Report the refusals of the group and of the fetches, even while Kafka does not answer questions."""
        if self._runs % RUNS_PER_QUESTION == 0:
            with suppress(SourceError):
                await self._source.look_at_access()
        self._runs += 1
        self._telemetry.refused(self._source.refusals())
        self._telemetry.topics_missing(self._source.missing_topics)
