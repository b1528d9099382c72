"""One run of retention, from its first batch to its last notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from operator import add

from consumer.ingest.erased import Key
from consumer.kafka.transactions import TakenOver
from consumer.maintenance.retention.expiry import Expiry
from consumer.maintenance.retention.notices import Notices
from consumer.postgres.client import Database
from consumer.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Done:
    """The totals of a run.

    :param deleted: rows deleted from provenance
    :param archived: deleted rows that were not in the archive yet
    :param notices: notices written, one for each owner
    :param published: notices published now, those of earlier runs included
    :param found: notices that an earlier attempt had published but not marked
    """

    deleted: int = 0
    archived: int = 0
    notices: int = 0
    published: int = 0
    found: int = 0

    def __add__(self, other: Done) -> Done:
        return Done(*map(add, astuple(self), astuple(other)))


class Retention:
    """Archives and deletes expired rows and publishes notices. If it is killed, the next run continues its work."""

    def __init__(self, expiry: Expiry, notices: Notices) -> None:
        self._expiry, self._notices = expiry, notices

    @classmethod
    def under(cls, settings: Settings, database: Database, keys: Sequence[Key]) -> Retention:
        """Build it from the settings; `keys` are the erasure keys, which identify erased users."""
        expiry = Expiry(database, settings.retention.batch_rows)
        return cls(expiry, Notices(database, settings.kafka, settings.topics.expired, keys))

    async def run(
        self,
        *,
        wait: bool,
        on_progress: Callable[[Done], None] = lambda _: None,
        on_taken_over: Callable[[], None] = lambda: None,
    ) -> Done:
        """Archive and delete all rows whose retention is over, and publish every waiting notice.

        :param wait: wait for another process that is running retention
        :param on_progress: called with the totals after each step
        :param on_taken_over: called if another process has begun to publish; it publishes all notices that wait
        :raises OperationError: the topic is missing, or row-level security hides rows: nothing was deleted
        :raises SourceError: Kafka is unavailable; deleted rows are archived, and their notices wait
        :raises StoreError: the database is unavailable
        """
        await self._notices.demand_topic()
        done = Done()

        def count(more: Done) -> None:
            nonlocal done
            done = done + more
            on_progress(done)

        while (batch := await self._expiry.archive(wait=wait)).more:
            count(Done(batch.deleted, batch.archived))
        if not batch.leads:
            return done  # the process that leads publishes too; our producer would end its transaction
        count(Done(notices=batch.notices))
        try:
            await self._notices.publish(lambda published, found: count(Done(published=published, found=found)))
        except TakenOver:
            on_taken_over()
        return done
