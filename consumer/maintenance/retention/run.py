"""A run of retention from its first batch to its last notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from operator import add

from consumer.ingest.erased import Key
from consumer.maintenance.retention.expiry import Expiry
from consumer.maintenance.retention.notices import Notices
from consumer.postgres.client import Database
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Done:
    """What was done.

    :param deleted: rows deleted from provenance
    :param archived: those of them that were not in the archive yet
    :param notices: notices written, one for each owner
    :param published: notices published now, those of earlier runs included
    :param found: notices that an earlier attempt had got into the topic without knowing
    """

    deleted: int = 0
    archived: int = 0
    notices: int = 0
    published: int = 0
    found: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(*map(add, astuple(self), astuple(other)))


class Retention:
    """Archives, deletes, tells the owners. Safe to kill at any point: the next run goes on where this one stood."""

    def __init__(self, expiry: Expiry, notices: Notices) -> None:
        self._expiry, self._notices = expiry, notices

    @classmethod
    def under(cls, settings: Settings, database: Database, keys: Sequence[Key]) -> Retention:
        """As the settings have it; `keys` are those by which erased users are known."""
        expiry = Expiry(database, settings.retention.batch_rows)
        return cls(expiry, Notices(database, settings.kafka, settings.topics.expired, keys))

    async def run(self, *, wait: bool, told: Callable[[Done], None] = lambda _: None) -> Done:
        """Take out everything whose retention is over, and publish every notice that waits.

        :param wait: for another process that is at it
        :param told: is given the totals after each step
        :raises OperationError: the topic does not exist, or rows are hidden: nothing was deleted
        :raises SourceError: Kafka cannot be used now; what is deleted is archived, and its notices wait
        :raises StoreError: the database cannot be used now
        """
        await self._notices.demand_topic()
        done = Done()

        def count(more: Done) -> None:
            nonlocal done
            done = done + more
            told(done)

        while (batch := await self._expiry.archive(wait=wait)).more:
            count(Done(batch.deleted, batch.archived))
        if not batch.leads:
            return done  # whoever is at it publishes too, and we would cut its producer off
        count(Done(notices=batch.notices))
        await self._notices.publish(lambda published, found: count(Done(published=published, found=found)))
        return done
