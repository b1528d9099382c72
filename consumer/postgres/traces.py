"""Folds the staged spans in PostgreSQL into dialogues.

A fold is one transaction under an advisory lock. It writes dialogues, dialogue_traces, dead letters and touched days,
and deletes the marks of the folded traces. If a batch commits a new mark in the meantime, that mark stays, and its
trace is folded again. So the last fold of a trace sees all of its spans, in whatever order they arrive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from consumer.decode.copy_format import microseconds
from consumer.decode.rows import Row
from consumer.decode.traces import Judged, TraceDialogue, judge, offset_of, trace_record
from consumer.events.otlp.fold import Folding, Skipped
from consumer.events.otlp.trace import Stored
from consumer.events.record import StoredRecord
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.ports import Cause, Refused, Unavailable
from consumer.ingest.traces import FoldedTraces
from consumer.postgres import trace_letters, trace_rows
from consumer.postgres.amendments import Report
from consumer.postgres.aside import aside
from consumer.postgres.client import Database, Transaction
from consumer.postgres.erasures import Erasures, ErasuresChanged
from consumer.postgres.errors import Objection
from consumer.postgres.queries import load
from consumer.postgres.touched_days import touch_days

TRACES_AT_A_TIME = 500
BYTES_AT_A_TIME = 33_554_432
MOST_SPANS, MOST_BYTES = 20_000, 67_108_864
OUTLINE_HOURS = 1.0
DROPPED_AT_ONCE = 5_000
_MOST_TRIED = 50_000

Outcomes = Counter[tuple[str, str]]


@dataclass(slots=True)
class _Chunk:
    """The traces that one transaction folds: their staged spans, and the result for each trace.

    :param marks: the marks of each trace that this fold deletes
    :param quiet: the traces that have had no new span for long enough. If they are not dialogues now, they are given up
    :param is_last: whether no other trace is due
    """

    marks: dict[UUID, Sequence[int]]
    quiet: set[UUID]
    is_last: bool
    spans: dict[UUID, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    users: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    judged: dict[UUID, Judged] = field(default_factory=dict)
    erased: set[UUID] = field(default_factory=set)
    outcomes: Outcomes = field(default_factory=Counter)
    letters: list[DeadLetter] = field(default_factory=list)
    inserted: list[Row] = field(default_factory=list)
    moments: list[int | None] = field(default_factory=list)

    def dialogues(self) -> Mapping[UUID, TraceDialogue]:
        """The traces that are dialogues."""
        return {trace: one for trace, one in self.judged.items() if isinstance(one, TraceDialogue)}


class _TracesRefused(Exception):
    """PostgreSQL rejects the rows that record these traces. Their dialogues must not be written either."""

    def __init__(self, found: Mapping[UUID, Rejected]) -> None:
        super().__init__()
        self.found = found


class PostgresTraces:
    """See :class:`consumer.maintenance.folding.Traces`.

    :param topic: the topic that dead letters of traces are stored under
    :param report: called with the table and SQLSTATE of each amendment that PostgreSQL rejects and that is set aside
    :param quiet: seconds without a new span after which a trace is folded, even if something is missing
    :param keep_hours: hours for which spans are kept
    """

    def __init__(
        self,
        database: Database,
        days: BusinessDays,
        folding: Folding,
        topic: str,
        report: Report,
        *,
        quiet: float,
        keep_hours: float,
        erasure_keys: Sequence[Key] = (),
    ) -> None:
        self._database, self._days, self._folding, self._topic, self._report = database, days, folding, topic, report
        self._quiet, self._keep_hours = quiet, keep_hours
        self._erasures = Erasures(erasure_keys)
        self._tried: dict[UUID, int] = {}
        self._splits = False
        self._first: int | None = None

    async def waiting(self) -> int:
        """See :meth:`Traces.waiting`."""
        async with self._database.transaction() as transaction:
            return int((await transaction.fetch(load("waiting_traces")))[0]["waiting"])

    async def drop_some(self) -> bool:
        """See :meth:`Traces.drop_some`."""
        async with self._database.transaction() as transaction:
            if not (await transaction.fetch(load("lead_fold")))[0]["leads"]:
                return False
            hours = self._keep_hours, OUTLINE_HOURS
            (row,) = await transaction.fetch(load("drop_old_spans"), *hours, DROPPED_AT_ONCE)
        return bool(row["dropped"] == DROPPED_AT_ONCE)

    async def fold_some(self) -> FoldedTraces | None:
        """See :meth:`Traces.fold_some`. If PostgreSQL rejects the rows, a second attempt finds the rejected ones. If it
        rejects rows of dialogue_traces, another attempt leaves these traces out.
        """
        refused: dict[UUID, Rejected] = {}
        while True:
            try:
                async with self._database.transaction() as transaction:
                    chunk = await self._fold(transaction, refused)
            except ErasuresChanged:
                await self._erasures.learn(self._database)
            except _TracesRefused as error:
                refused |= error.found
            except (Refused, Objection) as error:
                if self._splits:
                    raise Unavailable(f"{error}: the cause is not the row of a trace", Cause.REFUSED) from error
                self._splits = True
            except Unavailable as error:
                self._splits, self._first = (True, 1) if error.cause is Cause.TIMEOUT else (self._splits, self._first)
                raise
            else:
                self._splits, self._first = False, None
                return None if chunk is None else self._committed(chunk)

    def _committed(self, chunk: _Chunk) -> FoldedTraces:
        for trace in chunk.marks:
            self._tried.pop(trace, None)
        reasons = Counter(letter.rejected.reason.value for letter in chunk.letters)
        return FoldedTraces(chunk.inserted, chunk.outcomes, reasons, chunk.is_last)

    # ── one transaction ──────────────────────────────────────────────────────────────────────────────────────────

    async def _fold(self, transaction: Transaction, refused: Mapping[UUID, Rejected]) -> _Chunk | None:
        if not (await transaction.fetch(load("lead_fold")))[0]["leads"]:
            return None
        chunk = await self._due(transaction)
        if not chunk.marks:
            return chunk
        erased = self._erasures.known
        known = await trace_rows.states(transaction, chunk.marks)
        await self._read(transaction, chunk, {trace for trace, state in known.items() if state["is_closed"]})
        if erased:
            chunk.erased |= {trace for trace, ids in chunk.users.items() if erased.among(user.bytes for user in ids)}
        normal = {trace: spans for trace, spans in chunk.spans.items() if trace not in chunk.erased}
        chunk.judged.update(await aside(partial(judge, self._folding, self._topic, normal)))
        self._postpone_incomplete(chunk)
        chunk.judged.update({trace: why for trace, why in refused.items() if trace in chunk.dialogues()})
        await self._write(transaction, chunk, known)
        await self._erasures.hold(transaction, erased)
        return chunk

    async def _due(self, transaction: Transaction) -> _Chunk:
        """The due traces that fit into memory together, and at least one."""
        tried = list(self._tried), list(self._tried.values())
        due = await transaction.fetch(load("due_traces"), self._quiet, TRACES_AT_A_TIME, *tried)
        sizes = await transaction.fetch(load("trace_sizes"), [row["trace_id"] for row in due]) if due else ()
        size_of = {row["trace_id"]: row for row in sizes}
        chunk = _Chunk({}, set(), is_last=len(due) < TRACES_AT_A_TIME)
        total = 0
        for row in due:
            trace, size = row["trace_id"], size_of.get(row["trace_id"])
            total += size["bytes"] if size else 0
            if total > BYTES_AT_A_TIME and chunk.marks:
                chunk.is_last = False
                break
            chunk.marks[trace] = row["marks"]
            if row["is_quiet"]:
                chunk.quiet.add(trace)
            if size and size["is_erased"]:
                chunk.erased.add(trace)
            elif size and (size["spans"] > MOST_SPANS or size["bytes"] > MOST_BYTES):
                chunk.judged[trace] = _too_large(size)
        return chunk

    async def _read(self, transaction: Transaction, chunk: _Chunk, closed: Collection[UUID]) -> None:
        wanted = [trace for trace in chunk.marks if trace not in closed and trace not in chunk.judged]
        for row in await transaction.fetch(load("trace_spans"), wanted):
            chunk.spans[row["trace_id"]].append(Stored(row["is_log"], row["resource"], row["content"]))
            if row["user_id"] is not None:
                chunk.users[row["trace_id"]].add(row["user_id"])
        late = [trace for trace in chunk.marks if trace in closed]
        if late:
            await transaction.execute(load("drop_late_spans"), late)
            chunk.outcomes["skipped", "late"] += len(late)

    def _postpone_incomplete(self, chunk: _Chunk) -> None:
        """Keep the marks of traces that are neither dialogues nor quiet: more spans may turn them into dialogues."""
        if len(self._tried) > _MOST_TRIED:
            self._tried.clear()
        for trace, one in list(chunk.judged.items()):
            if trace not in chunk.quiet and not isinstance(one, TraceDialogue):
                self._tried[trace] = max(chunk.marks.pop(trace))
                del chunk.judged[trace]

    async def _write(self, transaction: Transaction, chunk: _Chunk, known: Mapping[UUID, Any]) -> None:
        written = await self._write_dialogues(transaction, chunk, known)
        await self._keep_traces(transaction, written)
        self._give_up(chunk)
        await trace_letters.keep(transaction, self._topic, chunk.letters)
        refused = {letter.record.offset for letter in chunk.letters}
        done = [trace for trace in chunk.dialogues() if offset_of(trace) not in refused]
        await trace_letters.settle(transaction, self._topic, done)
        await self._empty_erased(transaction, chunk)
        await touch_days(transaction, self._days, chunk.moments)
        await transaction.execute(load("forget_trace_marks"), list(chain.from_iterable(chunk.marks.values())))

    async def _keep_traces(self, transaction: Transaction, dialogues: Sequence[TraceDialogue]) -> None:
        if not dialogues:
            return
        if not self._splits:
            await trace_rows.keep_traces(transaction, dialogues)
        elif refused := await trace_rows.find_refused_traces(transaction, dialogues, self._first):
            raise _TracesRefused(refused)

    async def _write_dialogues(
        self, transaction: Transaction, chunk: _Chunk, known: Mapping[UUID, Any]
    ) -> Sequence[TraceDialogue]:
        """Insert new dialogues and update changed ones. Return the dialogues that were written."""
        dialogues = chunk.dialogues()
        by_id = {one.row.id: one for one in dialogues.values()}
        new = [one.row for trace, one in dialogues.items() if trace not in known]
        other = [one.row for trace, one in dialogues.items() if _differs(one, known.get(trace))]
        outcome = await trace_rows.insert(transaction, new, self._report, splits=self._splits, first=self._first)
        changed = await trace_rows.change(transaction, other, self._first)
        await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an error at COMMIT would name no row
        chunk.inserted += outcome.inserted
        chunk.moments += [row.created_at for row in chain(outcome.inserted, changed.amended)]
        chunk.moments += [*outcome.moments, *changed.moments]
        chunk.moments += [microseconds(known[UUID(bytes=row.id)]["created_at"]) for row in changed.amended]
        traces = {offset_of(trace): trace for trace in dialogues}
        for letter in chain(outcome.dead_letters, changed.dead_letters):
            self._reject(chunk, traces[letter.record.offset], letter.rejected)
        self._count(chunk, len(outcome.inserted), "inserted")
        self._count(chunk, len(outcome.duplicates), "duplicate")
        self._count(chunk, len(changed.amended), "updated")
        self._count(chunk, len(dialogues) - len(new) - len(changed.amended) - len(changed.dead_letters), "unchanged")
        return [by_id[row.id] for row in chain(outcome.inserted, changed.amended)]

    def _count(self, chunk: _Chunk, number: int, outcome: str) -> None:
        if number:
            chunk.outcomes[outcome, ""] += number

    def _give_up(self, chunk: _Chunk) -> None:
        """Count the traces that are skipped, and dead-letter those that are rejected."""
        for trace, one in chunk.judged.items():
            if isinstance(one, Rejected):
                self._reject(chunk, trace, one)
            elif isinstance(one, Skipped):
                chunk.outcomes["skipped", one.value] += 1

    def _reject(self, chunk: _Chunk, trace: UUID, rejected: Rejected) -> None:
        chunk.outcomes["dead_lettered", rejected.reason.value] += 1
        spans = chunk.spans.get(trace, [])
        record: StoredRecord = trace_record(self._topic, trace, spans, chunk.users.get(trace, ()))
        chunk.letters.append(DeadLetter(record, rejected))

    async def _empty_erased(self, transaction: Transaction, chunk: _Chunk) -> None:
        if chunk.erased:
            erased = sorted(chunk.erased)
            await transaction.execute(load("empty_traces"), erased)
            await trace_letters.empty(transaction, self._topic, erased)
            chunk.outcomes["skipped", Reason.ERASED_USER.value] += len(erased)


def _differs(one: TraceDialogue, state: Any) -> bool:
    return state is not None and state["content_hash"] != one.content_hash


def _too_large(size: Any) -> Rejected:
    problem = (
        f"the trace has {size['spans']:,} spans and log events with {size['bytes']:,} bytes; the limits are"
        f" {MOST_SPANS:,} spans and log events, and {MOST_BYTES:,} bytes"
    )
    return Rejected.whole(Reason.RECORD_TOO_LARGE, problem)
