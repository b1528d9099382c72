"""One run of retention: dialogues, dead letters, then provenance up to its last notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from operator import add

from consumer.errors import OperationError
from consumer.events.registry import namespace_of
from consumer.ingest import slo
from consumer.ingest.erased import Key
from consumer.ingest.rollup_basis import Basis
from consumer.kafka.transactions import TakenOver
from consumer.maintenance.retention.dead_letters import LetterExpiry, LetterPreview
from consumer.maintenance.retention.dialogues import DialogueExpiry, DialoguePreview
from consumer.maintenance.retention.expiry import Expiry, Preview
from consumer.maintenance.retention.final import FinalDays
from consumer.maintenance.retention.months import Month
from consumer.maintenance.retention.notices import Notices
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.postgres.login import Login
from consumer.settings.model import Settings
from consumer.settings.process import owner_name


@dataclass(frozen=True, slots=True)
class Done:
    """The totals of a run.

    :param deleted: rows deleted from provenance
    :param archived: deleted rows that were not in the archive yet
    :param notices: notices written, one for each owner
    :param published: notices published now, those of earlier runs included
    :param found: notices that an earlier attempt had published but not marked
    :param dialogues: dialogues removed, those of dropped months included
    :param months: months dropped, as YYYY-MM
    :param dead_letters: dead letters removed
    :param open_dead_letters: how many of them were open: their records are given up for good
    :param problems: why dialogues were not removed, or not all of them
    """

    deleted: int = 0
    archived: int = 0
    notices: int = 0
    published: int = 0
    found: int = 0
    dialogues: int = 0
    months: tuple[str, ...] = ()
    dead_letters: int = 0
    open_dead_letters: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Done) -> Done:
        return Done(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Previews:
    """What a run would do. Dialogues and dead letters are None if the settings keep them without limit.

    :param problems: why dialogues would not be removed now
    """

    provenance: Preview
    dialogues: DialoguePreview | None
    dead_letters: LetterPreview | None
    problems: tuple[str, ...]


class Retention:
    """Removes what the settings do not keep any longer. If it is killed, the next run continues its work.

    :param dialogues: None if dialogues are kept without limit
    :param letters: None if dead letters are kept without limit
    """

    def __init__(
        self,
        expiry: Expiry,
        notices: Notices,
        dialogues: DialogueExpiry | None = None,
        letters: LetterExpiry | None = None,
    ) -> None:
        self._expiry, self._notices, self._dialogues, self._letters = expiry, notices, dialogues, letters

    @classmethod
    def under(cls, settings: Settings, database: Database, keys: Sequence[Key]) -> Retention:
        """Build it from the settings; `keys` are the erasure keys, which identify erased users."""
        kept, zone = settings.retention, settings.rollup.timezone
        dialogues = letters = None
        if kept.dialogues_days:
            history = PostgresHistory(database, Basis(zone, slo.load(settings.slo.file)), owner_name())
            final = FinalDays(database, history, zone, kept.dialogues_days)
            dialogues = DialogueExpiry(database, Login(settings.postgres), final, kept.batch_rows)
        if kept.dead_letters_days:
            letters = LetterExpiry(database, kept.dead_letters_days, kept.batch_rows, namespace_of(settings))
        notices = Notices(database, settings.kafka, settings.topics.expired, keys)
        return cls(Expiry(database, kept.batch_rows), notices, dialogues, letters)

    async def preview(self, as_of: datetime, owners: int) -> Previews:
        """Count what a run at a moment would remove; change nothing.

        :param as_of: UTC without a zone
        :param owners: the largest number of owners of provenance to list
        :raises OperationError: row-level security hides rows
        :raises StoreError: :raises DatabaseError: the database is unavailable
        """
        provenance = await self._expiry.preview(as_of, owners)
        dialogues, problems = None, list[str]()
        try:
            dialogues = await self._dialogues.preview(as_of) if self._dialogues else None
        except OperationError as error:
            problems.append(str(error))
        letters = await self._letters.preview(as_of) if self._letters else None
        return Previews(provenance, dialogues, letters, tuple(problems))

    async def run(
        self,
        *,
        wait: bool,
        on_progress: Callable[[Done], None] = lambda _: None,
        on_taken_over: Callable[[], None] = lambda: None,
    ) -> Done:
        """Remove expired dialogues and dead letters. Then archive and delete all provenance whose retention is over,
        and publish every waiting notice.

        :param wait: wait for another process that is running retention
        :param on_progress: called with the totals after each step
        :param on_taken_over: called if another process has begun to publish; it publishes all notices that wait
        :raises OperationError: the topic is missing, or row-level security hides rows: no provenance was deleted
        :raises SourceError: Kafka is unavailable; deleted rows are archived, and their notices wait
        :raises StoreError: :raises DatabaseError: the database is unavailable
        """
        done = Done()

        def count(more: Done) -> None:
            nonlocal done
            done = done + more
            on_progress(done)

        await self._remove(wait, count)
        await self._notices.demand_topic()
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

    async def _remove(self, wait: bool, count: Callable[[Done], None]) -> None:
        """Remove dialogues and dead letters. A problem with dialogues does not stop the rest of the run."""

        def removed(rows: int, month: Month | None) -> None:
            count(Done(dialogues=rows, months=(str(month),) if month else ()))

        if self._dialogues:
            try:
                await self._dialogues.run(wait=wait, on_removed=removed)
            except OperationError as error:
                count(Done(problems=(str(error),)))
        if self._letters:
            await self._letters.run(
                wait=wait, on_removed=lambda rows, open_: count(Done(dead_letters=rows, open_dead_letters=open_))
            )
