"""The data that every check receives."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.ingest.ports import Answers, Bounds
from consumer.kafka.admin import KafkaFacts
from consumer.postgres.admin import AdminConnection
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Brokers:
    """Facts from the brokers."""

    facts: KafkaFacts
    bounds: Answers[Bounds]


@dataclass(frozen=True, slots=True)
class CheckContext:
    """A connection with the service's settings, the settings, and facts from the brokers if they answered.

    `database` and `role` are quoted for use in a statement.
    """

    db: AdminConnection
    settings: Settings
    brokers: Brokers | None
    database: str
    role: str

    @property
    def replicas(self) -> int:
        """Number of running replicas as far as known, at least one."""
        return max((self.brokers and self.brokers.facts.members) or 0, 1)
