"""What the pipeline needs of the outside: narrow protocols, and errors that say what the caller does next.

StoreError
├── Unavailable   the store cannot be used now          → wait and try again, for as long as it takes
├── Refused       the store does not take this data     → find the record, make it a dead letter
└── Fenced        another reader has the partition now  → throw the batch away, claim again
    └── LedgerLocked  somebody holds its row            → the same
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from consumer.decode.rows import Row
from consumer.events.kind import Kind
from consumer.events.record import Partition, Record
from consumer.ingest.batch import Batch, DeadLetter
from consumer.ingest.offsets import Claim, StopReason

# Every cause of an outage of the store, as it stands in metrics.
CAUSES = (
    "conflict",
    "connection",
    "erasure",
    "lock",
    "other",
    "privilege",
    "read_only",
    "refused",
    "resources",
    "schema",
    "shutdown",
    "system",
    "timeout",
    "tls",
    "turn",
)

T = TypeVar("T")


class Answers(dict[Partition, T], Generic[T]):
    """What the leaders of partitions have answered.

    :param unanswered: the partitions of which nobody has answered, and why: no leader, or one that does not answer
    """

    def __init__(self, answered: Mapping[Partition, T], unanswered: Mapping[Partition, str] | None = None) -> None:
        super().__init__(answered)
        self.unanswered: Mapping[Partition, str] = dict(unanswered or {})


class StoreError(Exception):
    """What went wrong with the store."""


class Unavailable(StoreError):
    """The store cannot be used now: an outage, a lock, a missing table. Never a reason for a dead letter.

    `cause` is one word out of few, for a metric's label.
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Refused(StoreError):
    """The store does not take this data. `sqlstate` is its code; the message never quotes the data.

    `constraint` is the one that was violated, if any: schema, table, name. `statement` is ours that was refused.
    """

    def __init__(
        self, message: str, sqlstate: str, constraint: tuple[str, str, str] | None = None, statement: str = ""
    ) -> None:
        super().__init__(message)
        self.sqlstate, self.constraint, self.statement = sqlstate, constraint, statement


class Fenced(StoreError):
    """Another reader has claimed `partitions` since: nothing of the batch was written."""

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(f"another reader has claimed {', '.join(map(str, sorted(partitions)))}")
        self.partitions = frozenset(partitions)


class LedgerLocked(Fenced):
    """Other transactions hold the rows of `partitions` in the ledger: nothing of the batch was written. It is given up
    so that they do not hold up the others in it, and behind it. No other reader has claimed any.
    """

    def __init__(self, partitions: Collection[Partition]) -> None:
        super().__init__(())
        self.args = (f"other transactions hold the rows of {', '.join(map(str, sorted(partitions)))} in ingest_ledger",)


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """What one poll returned of one partition.

    :param leader_epoch: of the newest of the records; None where the log does not keep it
    """

    partition: Partition
    records: Sequence[Record]
    leader_epoch: int | None = None


class Position(NamedTuple):
    """The offset that comes next, and the leader epoch of what was returned before it; None where that is unknown."""

    offset: int
    leader_epoch: int | None = None


class EpochQuestion(NamedTuple):
    """Up to which offset does a log hold what was written under this leader epoch and earlier ones?

    :param asked_of: the epoch of the leader that is asked: any other one does not answer
    """

    leader_epoch: int
    asked_of: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first offset a partition still holds, and the one after the last record that can be read now.

    :param end: the last stable offset: everything before it is committed or aborted
    :param topic_id: which topic of this name it is, as one made anew has another; None where no broker tells
    :param held_back: acknowledged offsets from `end` on: an open transaction holds them back from every reader of
        committed records, those of other producers too
    :param leader_epoch: under which its leader has answered; None where no broker tells
    """

    first: int
    end: int
    topic_id: UUID | None = None
    held_back: int = 0
    leader_epoch: int | None = None

    @property
    def high_watermark(self) -> int:
        """The offset after the last acknowledged record: what the lag is counted to."""
        return self.end + self.held_back


class End(NamedTuple):
    """Where a partition ends: for readers of committed records, and for its producers. See :class:`Bounds`."""

    stable: int
    high_watermark: int


class Refusal(NamedTuple):
    """Something of Kafka that this replica may not use until somebody acts.

    :param resource: `topic`, `group` or `transactional-id`
    :param fix: what a person does about it, such as the command that grants the right
    """

    resource: str
    name: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.resource} {self.name}: {self.problem} ({self.fix})"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who may move a partition's row of the ledger: the newest epoch.

    :param is_free: nobody has claimed the row since somebody decided about it
    """

    epoch: int
    is_free: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch became, once committed.

    :param amended: what changed a row, or waits for one
    :param amended_moments: when the changed rows' dialogues took place, in microseconds since 2000-01-01 UTC
    :param news: of what amended those that were not known before
    :param stopped: partitions that stop with it, and why
    """

    batch: Batch
    inserted: Mapping[Kind, Sequence[Row]]
    duplicates: Sequence[Row]
    dead_letters: Sequence[DeadLetter]
    amended: Mapping[Kind, Sequence[Row]] = field(default_factory=dict)
    amended_moments: Collection[int] = ()
    news: Mapping[Kind, Sequence[Row]] = field(default_factory=dict)
    stopped: Mapping[Partition, StopReason] = field(default_factory=dict)


class Source(Protocol):
    """Records, partition by partition."""

    async def poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        """The next records, waiting up to `timeout` seconds for the first. Also keeps the group membership alive."""
        ...

    def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """Behind the last offset returned, markers and aborted records included; unassigned partitions left out."""
        ...

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, End]:
        """Where the partitions ended at the last fetch; partitions never fetched left out."""
        ...

    async def bounds(self, partitions: Collection[Partition]) -> Answers[Bounds]:
        """What the partitions hold now, as far as their leaders answer.

        :raises SourceError: no broker answers
        """
        ...

    async def epoch_ends(self, questions: Mapping[Partition, EpochQuestion]) -> Answers[int | None]:
        """The answers, as far as the leaders give one; None where a leader does not keep epochs.

        :raises SourceError: no broker answers
        """
        ...

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from these offsets, and start fetching where it was stopped."""
        ...

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """Which topics of these names there are now; left out where the brokers do not tell, or there is none.

        :raises SourceError: the brokers do not answer
        """
        ...

    def refusals(self) -> Collection[Refusal]:
        """What Kafka does not let us use, as far as it has told."""
        ...

    async def answers_anew(self, partitions: Collection[Partition]) -> bool:
        """Whether the brokers tell a new client the bounds of at least one of these partitions."""
        ...

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        """Stop fetching, everything where none are named; :meth:`poll` goes on, to keep the membership."""
        ...

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch again."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Tell Kafka where reading stands, for lag tools; whether it knows now. The ledger is what counts."""
        ...


class SourceError(Exception):
    """Kafka cannot be asked now. Wait and try again."""


class Clock(Protocol):
    """The two clocks."""

    def monotonic(self) -> float:
        """Seconds since some start, never going back: for delays."""
        ...

    def wall(self) -> float:
        """Seconds since 1970: for comparing with record timestamps, never for the data itself."""
        ...


class Aside(Protocol):
    """Does what takes long beside the event loop, one piece of work after the other."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """What the work returns. Cancelled while the work is being done, it is done to its end, for nothing."""
        ...


class Turn(Protocol):
    """A batch's place in the order of commits, which is the order in which the batches were sealed."""

    async def wait_turn(self) -> None:
        """Wait until every earlier batch is committed or thrown away."""
        ...


class Claims(Protocol):
    """Who may write for which partition."""

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """Take over the partitions; one seen for the first time begins at its first or end offset, as configured.

        :returns: a claim for each, but for those whose rows another transaction holds: try these again
        :raises Unavailable: try again
        """
        ...

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        """Keep in the ledger that the partition has stopped at this offset until a person decides.

        :returns: the reason that the ledger keeps, which is the first one; None where nothing is kept, as the claim is
            lost, what comes before the offset is not committed yet, or another transaction holds the row

        :raises Unavailable: try again
        """
        ...

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        """Who holds the partitions now; those that the ledger does not know are left out.

        :raises Unavailable: not now
        """
        ...


class Store(Claims, Protocol):
    """The tables and the ledger."""

    async def write(self, batch: Batch, turn: Turn) -> Written:
        """Write the batch in one transaction, committed in its turn, waiting out every outage.

        :raises Fenced: another reader has one of the partitions; nothing was written
        """
        ...


class Telemetry(Protocol):
    """What is told of the work; nothing here may fail or block."""

    def written(self, written: Written, seconds: float) -> None:
        """A batch was committed; it took `seconds` to write."""
        ...

    def fenced(self, fenced: Fenced) -> None:
        """A batch was thrown away because another reader has the partition."""
        ...

    def overtaken(self, partitions: Collection[Partition]) -> None:
        """Claims were lost, to another reader or by a decision about the ledger."""
        ...

    def assigned(self, partitions: Collection[Partition]) -> None:
        """The group has given this reader these partitions."""
        ...

    def revoked(self, partitions: Collection[Partition]) -> None:
        """The group has taken these partitions away."""
        ...

    def claimed(self, claims: Collection[Claim]) -> None:
        """The ledger lets this reader write for these partitions."""
        ...

    def unavailable(self, cause: str, message: str) -> None:
        """The store cannot be written to; another try follows."""
        ...

    def available(self) -> None:
        """A write was answered."""
        ...

    def ledger_locked(self, partitions: Collection[Partition]) -> None:
        """Other transactions hold the rows of these partitions in the ledger, so they cannot be claimed now; none: no
        partition waits for that any more.
        """
        ...

    def silent(self, cause: str, message: str) -> None:
        """The store does not even answer a question; another follows."""
        ...

    def answered(self) -> None:
        """The store has answered a question."""
        ...

    def kafka_unavailable(self, error: Exception) -> None:
        """Kafka does not answer; another try follows."""
        ...

    def kafka_available(self) -> None:
        """Kafka has answered."""
        ...

    def unanswered(self, asked: Collection[Partition], why: Mapping[Partition, str]) -> None:
        """The leaders of these partitions were asked; `why` has those of which none has answered."""
        ...

    def split(self, writes: int) -> None:
        """Guilty records were looked for by halving; it took `writes` extra writes."""
        ...

    def set_aside(self, table: str, sqlstate: str) -> None:
        """The database refuses to apply an amendment that was kept in `table`; it is not tried again."""
        ...

    def stopped(self, partition: Partition, reason: StopReason) -> None:
        """A partition cannot be read on from where the ledger stands; a person has to decide."""
        ...

    def drain_timed_out(self, seconds: float) -> None:
        """A rebalance did not wait any longer for the batches in flight; the ledger's fence covers them."""
        ...

    def backpressure(self, seconds: float) -> None:
        """Reading waited `seconds` for the writer."""
        ...

    def lag(self, partition: Partition, records: int, seconds: float) -> None:
        """How far the ledger is behind the partition."""
        ...

    def held_back(self, partition: Partition, records: int, seconds: float) -> None:
        """How many records wait behind an open transaction, and for how long we have seen it open."""
        ...
