"""What every check is given to look with."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.ingest.ports import Answers, Bounds
from consumer.kafka.admin import KafkaFacts
from consumer.postgres.admin import AdminConnection
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Brokers:
    """What the brokers have said."""

    facts: KafkaFacts
    bounds: Answers[Bounds]


@dataclass(frozen=True, slots=True)
class CheckContext:
    """A connection as the service makes one, the settings, and what the brokers have said, if they have.

    `database` and `role` are where it led to, ready to be put into a statement.
    """

    db: AdminConnection
    settings: Settings
    brokers: Brokers | None
    database: str
    role: str

    @property
    def replicas(self) -> int:
        """How many replicas run, as far as is known; at least the one that is meant to."""
        return max((self.brokers and self.brokers.facts.members) or 0, 1)
