"""The daily aggregates in PostgreSQL.

A day is computed with a basis: a business time zone and objectives. The replica that started last stores its basis as
the current one, and every replica computes with the current one. Each day records its basis. So days with another basis
are found, whichever replica computed them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from consumer.ingest.days import BusinessDays, has_buckets
from consumer.ingest.ports import Cause, StoreError, Unavailable
from consumer.ingest.rollup_basis import Basis, UnknownBasis
from consumer.postgres.client import Database, Transaction
from consumer.postgres.day_figures import figures_from_buckets, figures_from_rows, forget_marks
from consumer.postgres.queries import load

_FIGURES = (
    "total_dialogues",
    "unique_users",
    "citation_rate",
    "citation_count",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "total_cost",
    "cost_per_answer",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "avg_relevance_score",
    "feedback_positive",
    "feedback_neutral",
    "feedback_negative",
)
# A smaller day is computed from its rows in less than half a second, so buckets would save nothing.
BUCKETS_FROM_DIALOGUES = 50_000
# With so many dialogues, reading all rows takes half a minute or more. The default limit of a statement is 60 s.
_TOO_LARGE_TO_READ_AGAIN = 10_000_000
_json = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class _Current:
    """The current basis, and its number in the database."""

    id: int
    basis: Basis


class Archived(StoreError):
    """Some rows of the day were archived, or have expired: computing the day from the others would be wrong."""

    def __init__(self, day: date, *, expired: bool = False) -> None:
        restore = (
            ", or restore its month with `ragledger partition archive --restore`, or with --attach if its archiving was"
            " interrupted"
        )
        super().__init__(
            f"{day}: rows of this day {'have expired' if expired else 'were archived'}, so it cannot be computed, and"
            f" its stored row stays. Leave the day out{'' if expired else restore}"
        )


class PostgresHistory:
    """See :class:`consumer.maintenance.rollup.History`.

    :param buckets_from: the number of dialogues from which a day is computed from buckets
    """

    def __init__(
        self, database: Database, basis: Basis, owner: str, *, buckets_from: int = BUCKETS_FROM_DIALOGUES
    ) -> None:
        self._database, self._own, self._owner, self._buckets_from = database, basis, owner, buckets_from
        self._has_begun = False

    # ── days that are due ────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> str:
        """See :meth:`consumer.maintenance.rollup.History.begin`."""
        async with self._database.transaction() as transaction:
            if not self._has_begun:
                await transaction.execute(load("adopt_basis"), self._own.timezone, self._own.json, self._owner)
            force, _ = await _current_basis(transaction)
        self._has_begun = True
        return self._own.difference(force.basis)

    async def due(self, fresh_seconds: float) -> Sequence[date]:
        """See :meth:`consumer.maintenance.rollup.History.due`."""
        async with self._database.transaction() as transaction:
            force, now = await _current_basis(transaction)
            today = force.basis.days.day_of(now).isoformat()
            rows = await transaction.fetch(load("due_days"), force.id, today, fresh_seconds)
        return [row["day"] for row in rows]

    async def roll_up_due(self, day: date, fresh_seconds: float) -> bool:
        """See :meth:`History.roll_up_due`. The marks are removed in the transaction that writes the day."""
        async with self._database.transaction() as transaction:
            if not (await transaction.fetch(load("lead_rollup")))[0]["leads"]:
                return False
            force, now = await _current_basis(transaction)
            [state] = await transaction.fetch(load("state_of_day"), day, day.isoformat())
            if state["age"] is not None and 0 <= state["age"] < fresh_seconds:
                return False  # another replica was quicker
            if any(await _archived_or_expired(transaction, day, force.basis.timezone)):
                await forget_marks(transaction, day, force.basis.days)
                judged = await _judge_again(transaction, day, force, dict(state))
                return judged or not state["touched"]
            await self._bring_up_to_date(transaction, day, force, dict(state), now)
        return True

    async def _bring_up_to_date(
        self, transaction: Transaction, day: date, force: _Current, state: Mapping[str, Any], now: datetime
    ) -> None:
        moved = state["has_row"] and state["time_zone"] != force.basis.timezone
        by_bucket = not moved and self._needs_buckets(state, force.basis.days.bounds(day), now)
        if state["touched"] or not state["has_row"] or state["basis_id"] == force.id:
            await self._compute(transaction, day, force, by_bucket=by_bucket)
        elif not moved:
            await _judge_again(transaction, day, force, state)
        elif await _is_complete(transaction, day, state, force.basis.days):
            await self._compute(transaction, day, force)
        else:
            await _judge_again(transaction, day, force, state)
            return
        if moved:
            await transaction.execute(load("touch_days_without_row"), _neighbours(day))

    def _needs_buckets(self, state: Mapping[str, Any], bounds: tuple[datetime, datetime], now: datetime) -> bool:
        """Whether to compute a day from its buckets.

        A day that has just ended is computed from its rows once more, if it is not too large. So it is right in the end
        even if somebody has changed rows without a mark.
        """
        dialogues = state["total_dialogues"] or 0
        if dialogues < self._buckets_from or not state["touched_in_buckets"] or not has_buckets(bounds):
            return False
        has_just_ended = now - timedelta(seconds=state["age"]) < bounds[1] <= now
        return not has_just_ended or dialogues >= _TOO_LARGE_TO_READ_AGAIN

    # ── one day ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def roll_up(self, day: date) -> Mapping[str, Any]:
        """Compute one day with our own basis, even if it is not touched. Wait for a running roll-up first.

        :returns: the row of the day

        :raises Archived: rows of the day were archived; its row stays as it is
        :raises Unavailable: the database cannot do it now
        """
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("wait_to_lead_rollup"))
            archived, expired = await _archived_or_expired(transaction, day, self._own.timezone)
            if archived or expired:
                raise Archived(day, expired=expired)
            [row] = await transaction.fetch(load("use_basis"), self._own.timezone, self._own.json)
            computed = await self._compute(transaction, day, _Current(row["id"], self._own), is_wanted=True)
        assert computed is not None
        return computed

    async def difference(self) -> str:
        """The settings in which the current basis differs from ours, as a sentence; empty if they do not differ."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("basis_in_force"))
        try:
            return self._own.difference(Basis.parse(rows[0]["time_zone"], rows[0]["objectives"])) if rows else ""
        except UnknownBasis as error:  # of another version
            return str(error)

    async def newest(self) -> Mapping[str, Any] | None:
        """See :meth:`consumer.maintenance.rollup.History.newest`."""
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch(load("newest_day"))
        return with_compliance(dict(rows[0])) if rows else None

    async def _compute(
        self,
        transaction: Transaction,
        day: date,
        under: _Current,
        *,
        by_bucket: bool = False,
        is_wanted: bool = False,
    ) -> Mapping[str, Any] | None:
        is_spread = await _demand_every_row(transaction)
        if by_bucket and not is_spread:
            figures = await figures_from_buckets(transaction, day, under.basis.days)
        else:
            figures = await figures_from_rows(transaction, day, under.basis.days, is_spread=is_spread)
        values = [figures[name] for name in _FIGURES]
        compliance = _json.encode(under.basis.judge(figures)).decode()
        rows = await transaction.fetch(load("write_day"), day.isoformat(), *values, compliance, is_wanted)
        if not rows:
            return None
        await transaction.execute(load("note_computed_day"), day.isoformat(), under.id, figures["ingest_delay_p95"])
        return with_compliance(dict(rows[0]))


async def _archived_or_expired(transaction: Transaction, day: date, timezone: str) -> tuple[bool, bool]:
    """Whether rows of the day were archived, and whether they have expired. Archiving and retention wait for this
    transaction's lock, so the answer stays true.
    """
    (found,) = await transaction.fetch(load("day_archived"), *BusinessDays(timezone).bounds(day))
    return found["archived"], found["expired"]


async def _demand_every_row(transaction: Transaction) -> bool:
    """Refuse to compute a day from only some of its rows. Return whether they are distributed over a cluster.

    :raises Unavailable: a policy hides rows from this role
    """
    (found,) = await transaction.fetch(load("rows_hidden"), "ai_dialogue_log")
    if found["hidden"]:
        problem = f"row-level security hides dialogues from the role {found['role']}"
        raise Unavailable(f"{problem}: GRANT ragledger_ingest TO {found['role']}", Cause.PRIVILEGE)
    return bool(found["is_spread"])


async def _current_basis(transaction: Transaction) -> tuple[_Current, datetime]:
    rows = await transaction.fetch(load("basis_in_force"))
    if not rows:
        raise Unavailable("no replica has stored a time zone and objectives for the days yet: start one", Cause.SCHEMA)
    [row] = rows
    try:
        return _Current(row["id"], Basis.parse(row["time_zone"], row["objectives"])), row["now"]
    except UnknownBasis as error:
        raise Unavailable(
            f"{error} (set by {row['adopted_by']}): bring all replicas to one version", Cause.SCHEMA
        ) from None


async def _is_complete(transaction: Transaction, day: date, state: Mapping[str, Any], days: BusinessDays) -> bool:
    """Whether all dialogues of the stored figures still exist. If some no longer exist, the stored row is the
    only record of them and must stay.
    """
    try:
        before = days if state["time_zone"] is None else BusinessDays(state["time_zone"])
    except (ValueError, KeyError):  # a time zone that only another version knows
        return False
    [found] = await transaction.fetch(load("count_dialogues"), *before.bounds(day))
    return bool(found["dialogues"] >= state["total_dialogues"])


async def _judge_again(transaction: Transaction, day: date, under: _Current, state: Mapping[str, Any]) -> bool:
    """Judge a day by the current basis without computing it; False if it has no row or was judged already."""
    if not state["has_row"] or under.id in (state["basis_id"], state["left_under"]):
        return False
    await _judge(transaction, day, under)
    note = "note_judged_day" if state["time_zone"] == under.basis.timezone else "leave_day"
    await transaction.execute(load(note), day.isoformat(), under.id)
    return True


async def _judge(transaction: Transaction, day: date, under: _Current) -> None:
    """Compare a stored day with the objectives, without computing it again."""
    [row] = await transaction.fetch(load("stored_day"), day.isoformat())
    compliance = _json.encode(under.basis.judge(dict(row))).decode()
    await transaction.execute(load("judge_day"), day.isoformat(), compliance)


def _neighbours(day: date) -> Sequence[date]:
    """The day before and the day after: in another time zone, dialogues of this day belong to them."""
    numbers = (day.toordinal() - 1, day.toordinal() + 1)
    return [date.fromordinal(number) for number in numbers if date.min.toordinal() <= number <= date.max.toordinal()]


def with_compliance(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of rag_metrics_history with `slo_compliance` decoded; ignores members that are not ours."""
    found = msgspec.json.decode(row["slo_compliance"] or "{}")
    members = found.items() if isinstance(found, dict) else ()
    return {**row, "slo_compliance": {name: _judgement(one) for name, one in members if isinstance(one, dict)}}


def _judgement(one: Mapping[str, Any]) -> Mapping[str, Any]:
    figures = {name: one[name] if isinstance(one.get(name), int | float) else None for name in ("target", "actual")}
    met = one.get("met")
    return {**figures, "operator": str(one.get("operator", "")), "met": met if isinstance(met, bool) else None}
