"""Makes days final before their dialogues are removed: no day is computed again from what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from consumer.errors import OperationError
from consumer.ingest.days import BusinessDays
from consumer.maintenance.retention.boundary import boundary, final_days
from consumer.postgres.client import Database, Transaction
from consumer.postgres.history import Archived, PostgresHistory
from consumer.postgres.queries import load
from consumer.postgres.visibility import demand_whole_tables
from consumer.postgres.workers import is_spread

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class State:
    """The present state of the table and of the boundary, times in naive UTC.

    :param expired_before: the boundary: dialogues before it are being removed, and the days before it are final
    :param is_owner: whether our role may do what the owner of the table may
    :param time_zone: the business time zone that the service has put in force
    """

    now: datetime
    expired_before: datetime
    is_partitioned: bool
    is_owner: bool
    time_zone: str | None
    is_converting: bool


class FinalDays:
    """Moves the boundary.

    :param history: computes days under the settings
    :param timezone: the business time zone of the settings
    :param keep_days: full business days for which dialogues are kept
    """

    def __init__(self, database: Database, history: PostgresHistory, timezone: str, keep_days: int) -> None:
        self._database, self._history = database, history
        self._days, self._timezone, self._keep_days = BusinessDays(timezone), timezone, keep_days

    async def state(self, transaction: Transaction) -> State:
        """Read the state.

        :raises OperationError: a conversion is open, the time zones differ, or row-level security hides rows
        """
        await demand_whole_tables(transaction, "ai_dialogue_log", "dialogue_traces")
        rows = await transaction.fetch(load("expiry_state"))
        if not rows:
            raise OperationError("ai_dialogue_log is missing: run `ragledger migrate up`")
        state = State(**dict(rows[0]))
        if state.is_converting:
            raise OperationError(_CONVERTING)
        if state.time_zone not in (None, self._timezone):
            raise OperationError(_OTHER_ZONE.format(own=self._timezone, other=state.time_zone))
        return state

    def boundary(self, state: State, now: datetime) -> datetime:
        """Return the boundary at a moment. It never moves back, because days before it are final."""
        wanted = boundary(now, self._days, self._keep_days, by_month=state.is_partitioned)
        return max(wanted, state.expired_before)

    async def move(self) -> tuple[State, datetime]:
        """Compute the days that become final, and move the boundary. Return the state, and the new boundary.

        :raises OperationError: it cannot be done now
        :raises StoreError: the database is unavailable
        """
        settled: set[date] = set()  # days that are final already, because their month was archived
        for _ in range(_ROUNDS):
            async with self._database.transaction() as transaction:
                state = await self.state(transaction)
                before = self.boundary(state, state.now)
                due = await self._uncomputed(transaction, state, before)
            for day in due:
                try:
                    await self._history.roll_up(day)
                except Archived:
                    settled.add(day)
            if await self._move(state, before, settled):
                return state, before
        raise OperationError(_DAYS_CHANGE)

    async def _move(self, state: State, before: datetime, settled: set[date]) -> bool:
        """Move the boundary if no day is due any more. No day is rolled up until the transaction ends."""
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("wait_to_lead_rollup"))
            if settled.issuperset(await self._uncomputed(transaction, state, before)):
                await transaction.execute(load("expiry_move"), before)
                return True
        return False

    async def _uncomputed(self, transaction: Transaction, state: State, before: datetime) -> Sequence[date]:
        if before == state.expired_before:
            return ()
        first, last = final_days(state.expired_before, before, self._days)
        span = self._days.bounds(first)[0], self._days.bounds(last)[1]
        statement = "expiry_moments_spread" if await is_spread(transaction) else "expiry_moments"
        moments = [row["moment"] for row in await transaction.fetch(load(statement), *span)]
        days = sorted({self._days.day_of(moment) for moment in moments})
        return [row["day"] for row in await transaction.fetch(load("expiry_uncomputed"), days, first, last)]


_CONVERTING = (
    "no dialogue was removed, because a conversion of ai_dialogue_log into months is not finished: finish it with"
    " `ragledger partition convert`, or take it back with --abort"
)
_OTHER_ZONE = (
    "no dialogue was removed, because days belong to another time zone: RAGLEDGER_ROLLUP__TIMEZONE is {own} here, and"
    " the service has put {other} in force"
)
_DAYS_CHANGE = (
    "no dialogue was removed, because expired days change all the time: dialogues of these days are being stored. Run"
    " this again when the service is up to date"
)
