"""What the pipeline needs from the outside: narrow protocols, and errors named for the caller's next step.

StoreError
├── Unavailable   the store cannot be used now             → wait and retry, without a limit
├── Refused       the store does not accept this data      → find the record and make it a dead letter
└── Fenced        another process has claimed a partition  → throw the batch away and claim again
    └── LedgerLocked  another transaction holds its row    → the same
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from consumer.decode.rows import Row
from consumer.decode.spans import SpanRecord
from consumer.events.kind import Kind
from consumer.events.record import Partition, Record
from consumer.ingest.batch import Batch, DeadLetter
from consumer.ingest.offsets import Claim, StopReason


class Cause(StrEnum):
    """Why the store cannot be used; a label of `rag_write_retries_total`."""

    CONFLICT = "conflict"
    CONNECTION = "connection"
    CREDENTIALS = "credentials"
    ERASURE = "erasure"
    LOCK = "lock"
    OTHER = "other"
    PRIVILEGE = "privilege"
    READ_ONLY = "read_only"
    REFUSED = "refused"
    RESOURCES = "resources"
    SCHEMA = "schema"
    SHUTDOWN = "shutdown"
    SYSTEM = "system"
    TIMEOUT = "timeout"
    TLS = "tls"
    TURN = "turn"


T = TypeVar("T")


class Answers(dict[Partition, T], Generic[T]):
    """The answers of the leaders, by partition.

    :param unanswered: partitions without an answer, and why: they have no leader, or it does not answer
    """

    def __init__(self, answered: Mapping[Partition, T], unanswered: Mapping[Partition, str] | None = None) -> None:
        super().__init__(answered)
        self.unanswered: Mapping[Partition, str] = dict(unanswered or {})


class StoreError(Exception):
    """The store cannot carry out the request."""


class Unavailable(StoreError):
    """The store cannot be used now: an outage, a lock, a missing table. Never a reason for a dead letter."""

    def __init__(self, message: str, cause: Cause) -> None:
        super().__init__(message)
        self.cause = cause


class Refused(StoreError):
    """The store does not accept this data. The message never quotes the data.

    :param sqlstate: the error code
    :param constraint: the violated constraint, if any: schema, table, name
    :param statement: the name of the statement that was refused
    """

    def __init__(
        self, message: str, sqlstate: str, constraint: tuple[str, str, str] | None = None, statement: str = ""
    ) -> None:
        super().__init__(message)
        self.sqlstate, self.constraint, self.statement = sqlstate, constraint, statement


class Fenced(StoreError):
    """Another process has claimed `partitions`. Nothing of the batch was written."""

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(f"another replica has claimed {', '.join(map(str, sorted(partitions)))}")
        self.partitions = frozenset(partitions)


class LedgerLocked(Fenced):
    """Other transactions hold the rows of `partitions` in the ledger. Nothing of the batch was written. It is thrown
    away so that its other partitions, and later batches, need not wait. No other process has claimed a partition.
    """

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(())
        self.args = (f"other transactions hold the rows of {', '.join(map(str, sorted(partitions)))} in ingest_ledger",)


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """The records that one poll returned for one partition.

    :param leader_epoch: the leader epoch of the newest record; None if the log does not store it
    """

    partition: Partition
    records: Sequence[Record]
    leader_epoch: int | None = None


class Position(NamedTuple):
    """The next offset, and the leader epoch of the record before it (None if unknown)."""

    offset: int
    leader_epoch: int | None = None


class EpochQuestion(NamedTuple):
    """The question: at which offset of the log do the records of this leader epoch and earlier ones end?

    :param asked_of: the epoch of the leader that is asked; a leader of another epoch does not answer
    """

    leader_epoch: int
    asked_of: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset that a partition still has, and one past the last record that can be read now.

    :param end: the last stable offset: every transaction before it is committed or aborted
    :param topic_id: the id of the topic; a recreated topic has another one. None if no broker reports it
    :param held_back: number of acknowledged offsets from `end` on. They wait behind an open transaction, also those of
        other producers
    :param leader_epoch: the epoch of the leader that answered; None if no broker reports it
    """

    first: int
    end: int
    topic_id: UUID | None = None
    held_back: int = 0
    leader_epoch: int | None = None

    @property
    def high_watermark(self) -> int:
        """One past the last acknowledged record. The lag is counted up to here."""
        return self.end + self.held_back


class End(NamedTuple):
    """The end of a partition for readers of committed records, and for producers. See :class:`Bounds`."""

    stable: int
    high_watermark: int


class Refusal(NamedTuple):
    """A resource that Kafka does not let this replica use.

    :param resource: `topic`, `group` or `transactional-id`
    :param fix: what a person can do about it, for example the command that grants the right
    """

    resource: str
    name: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.resource} {self.name}: {self.problem} ({self.fix})"


@dataclass(frozen=True, slots=True)
class Holder:
    """The newest claim of a partition in the ledger.

    :param is_free: nobody has claimed the partition since a person decided about it
    """

    epoch: int
    is_free: bool


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a committed batch. An OTLP record is one item, however many spans it has.

    :param ignored: OTLP records that contain nothing to store
    :param staged: number of spans, by result and reason
    :param amended: amendments: each changed a row, or waits for one
    :param amended_moments: creation times of the changed dialogues, in microseconds since 2000-01-01 UTC
    :param news: the amendments that were not known before
    :param stopped: partitions that stop after this batch, and why
    """

    batch: Batch
    inserted: Mapping[Kind, Sequence[Row]]
    duplicates: Sequence[Row]
    dead_letters: Sequence[DeadLetter]
    amended: Mapping[Kind, Sequence[Row]] = field(default_factory=dict)
    amended_moments: Collection[int] = ()
    news: Mapping[Kind, Sequence[Row]] = field(default_factory=dict)
    stopped: Mapping[Partition, StopReason] = field(default_factory=dict)
    ignored: Sequence[SpanRecord] = ()
    staged: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Source(Protocol):
    """A source of records: Kafka, or a fake."""

    async def poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        """Return the next records; wait up to `timeout` seconds for the first. Keeps the group membership alive."""
        ...

    def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """One past the last offset returned, markers and aborted records included. Skips unassigned partitions."""
        ...

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, End]:
        """The ends of the partitions at the last fetch. Skips partitions that were never fetched."""
        ...

    async def bounds(self, partitions: Collection[Partition]) -> Answers[Bounds]:
        """Ask for the bounds of the partitions.

        :raises SourceError: no broker answers
        """
        ...

    async def epoch_ends(self, questions: Mapping[Partition, EpochQuestion]) -> Answers[int | None]:
        """Ask the leaders the questions. An answer is None if the leader does not store epochs.

        :raises SourceError: no broker answers
        """
        ...

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Continue at these offsets, and resume fetching of these partitions."""
        ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """The current ids of these topics. Skips topics that do not exist or whose id the brokers do not report.

        :raises SourceError: the brokers do not answer
        """
        ...

    def refusals(self) -> Collection[Refusal]:
        """The resources that Kafka is known to refuse."""
        ...

    async def answers_new_client(self, partitions: Collection[Partition]) -> bool:
        """Whether a new client gets the bounds of at least one of these partitions."""
        ...

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        """Stop fetching these partitions, or all if None. :meth:`poll` is still called, to keep the membership."""
        ...

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these partitions again."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit offsets to Kafka, for lag tools only. Return whether that succeeded. Reading resumes at the ledger."""
        ...


class SourceError(Exception):
    """Kafka does not answer. Wait and retry."""


class NotAdmitted(SourceError):
    """Kafka refuses the credentials, or there are none."""


class Clock(Protocol):
    """The two clocks."""

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back, for delays."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, for comparison with record timestamps. Never stored."""
        ...


class Aside(Protocol):
    """Runs slow functions in a thread, one at a time."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run the function and return its result. If cancelled, the function still runs to its end."""
        ...


class Turn(Protocol):
    """The place of a batch in the order of commits, which is the order in which batches were sealed."""

    async def wait_turn(self) -> None:
        """Wait until every earlier batch is committed or thrown away."""
        ...


class Claims(Protocol):
    """The ledger: which process may write for which partition."""

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """Claim the partitions. A new partition begins at its first offset or at its end, as configured.

        :returns: the claims; a partition whose row another transaction holds is left out: retry it
        :raises Unavailable: retry
        """
        ...

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        """Record in the ledger that the partition has stopped at this offset until a person decides.

        :returns: the recorded reason, which is the first one; None if nothing was recorded: the claim is lost, the
            records before the offset are not committed yet, or another transaction holds the row

        :raises Unavailable: retry
        """
        ...

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        """The newest claims of these partitions. Skips partitions that are not in the ledger.

        :raises Unavailable: not now
        """
        ...


class Store(Claims, Protocol):
    """The tables and the ledger."""

    async def write(self, batch: Batch, turn: Turn) -> Written:
        """Write the batch in one transaction and commit it in its turn. Wait for the end of every outage.

        :raises Fenced: another process has claimed one of the partitions; nothing was written
        """
        ...


class Telemetry(Protocol):
    """Metrics and the log. No method may fail or block."""

    def written(self, written: Written, seconds: float) -> None:
        """A batch was committed; it took `seconds` to write."""
        ...

    def fenced(self, fenced: Fenced) -> None:
        """A batch was thrown away because another process has claimed a partition."""
        ...

    def overtaken(self, partitions: Collection[Partition]) -> None:
        """Claims were lost, to another process or by a person's decision about the ledger."""
        ...

    def assigned(self, partitions: Collection[Partition]) -> None:
        """The group has assigned these partitions to this process."""
        ...

    def revoked(self, partitions: Collection[Partition]) -> None:
        """The group has revoked these partitions."""
        ...

    def claimed(self, claims: Collection[Claim]) -> None:
        """The ledger has granted these claims."""
        ...

    def retried(self, cause: Cause) -> None:
        """A write failed and will be retried. This does not mean that the database is unavailable."""
        ...

    def unavailable(self, cause: Cause, message: str) -> None:
        """A write failed because the database is unavailable, and will be retried."""
        ...

    def available(self) -> None:
        """A write succeeded."""
        ...

    def ledger_locked(self, partitions: Collection[Partition]) -> None:
        """Other transactions hold the rows of these partitions in the ledger, so they cannot be claimed now. Called
        with no partitions when none waits any more.
        """
        ...

    def silent(self, cause: Cause, message: str) -> None:
        """A query failed and will be repeated."""
        ...

    def answered(self) -> None:
        """A query succeeded."""
        ...

    def kafka_unavailable(self, error: Exception) -> None:
        """Kafka does not answer; the request will be repeated."""
        ...

    def kafka_available(self) -> None:
        """Kafka has answered."""
        ...

    def unanswered(self, asked: Collection[Partition], why: Mapping[Partition, str]) -> None:
        """The leaders of these partitions were asked; `why` has the reason for each partition without an answer."""
        ...

    def split(self, writes: int) -> None:
        """Finding the rejected rows by halving took `writes` extra writes."""
        ...

    def set_aside(self, table: str, sqlstate: str) -> None:
        """The database refuses to apply an amendment stored in `table`; it is not retried."""
        ...

    def stopped(self, partition: Partition, reason: StopReason) -> None:
        """A partition has stopped; a person has to decide."""
        ...

    def drain_timed_out(self, seconds: float) -> None:
        """A rebalance no longer waits for the batches in flight; the fence of the ledger covers them."""
        ...

    def backpressure(self, seconds: float) -> None:
        """Reading has waited `seconds` for the writer."""
        ...

    def lag(self, partition: Partition, records: int, seconds: float) -> None:
        """How far the ledger is behind the end of the partition."""
        ...

    def held_back(self, partition: Partition, records: int, seconds: float) -> None:
        """How many records wait behind an open transaction, and for how long it has been seen open."""
        ...
