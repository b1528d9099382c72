"""The periodic job that keeps the daily aggregates equal to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from consumer.ingest.ports import Cause, Clock, StoreError, Unavailable

# Why one day cannot be computed now although others can: it is too large, somebody holds what it needs, or a trigger of
# somebody's refuses its row.
OF_ONE_DAY = frozenset({Cause.CONFLICT, Cause.LOCK, Cause.REFUSED, Cause.RESOURCES, Cause.TIMEOUT})


class History(Protocol):
    """The daily aggregates."""

    async def begin(self) -> str:
        """Take up the settings that days are computed under; at the first call ours are put in force.

        :returns: in which settings those in force differ from ours, empty where they do not
        :raises StoreError: not now
        """
        ...

    async def due(self, fresh_seconds: float) -> Sequence[date]:
        """The days to be computed, newest first; one that was computed less than `fresh_seconds` ago can wait.

        :raises StoreError: not now
        """
        ...

    async def roll_up_due(self, day: date, fresh_seconds: float) -> bool:
        """Compute a day; False when another replica is at it, or was just now, or its rows were archived.

        :raises StoreError: not now
        """
        ...

    async def newest(self) -> Mapping[str, Any] | None:
        """The newest day's row."""
        ...


class Amendments(Protocol):
    """What changes rows after they were written."""

    async def settle(self) -> Sequence[str]:
        """Apply what still waits although its row is there; call plugins unhealthy that nobody hears of: their names.

        :raises StoreError: not now
        """
        ...


class DayTelemetry(Protocol):
    """What is told of the days."""

    def rolled_up(self, days: Sequence[date]) -> None:
        """These days have been computed."""
        ...

    def newest_day(self, day: Mapping[str, Any]) -> None:
        """The newest day's row, by whichever replica it was computed."""
        ...

    def rollup_succeeded(self) -> None:
        """Nothing was due, or all that was looked at was computed here."""
        ...

    def plugins_silent(self, names: Sequence[str]) -> None:
        """These plugins have reported nothing for too long."""
        ...

    def rollup_failed(self, problem: str) -> None:
        """The days could not be computed now; what is due stays due."""
        ...

    def rollup_settings_differ(self, difference: str) -> None:
        """Days are computed under settings other than ours: in which way; empty where they are the same."""
        ...


class RollupJob:
    """Computes the days that are due. It runs every `pause` seconds, half of the interval: so no row is older than the
    interval even if the replica that computes dies. If two replicas run it, one computes and the other finds the row
    fresh.
    """

    def __init__(
        self, history: History, amendments: Amendments, telemetry: DayTelemetry, clock: Clock, interval: float
    ) -> None:
        self._history, self._amendments, self._telemetry, self._clock = history, amendments, telemetry, clock
        self.pause = interval / 2

    async def run_once(self, fresh_seconds: float | None = None) -> bool:
        """Roll up what is due, then show the newest day. What fails stays due, and holds up no other day.

        :param fresh_seconds: a row can wait that was computed less than this ago; half of the interval when unset
        :returns: whether everything was looked at; where it takes long, today's row is due again before the end
        """
        fresh = self.pause if fresh_seconds is None else fresh_seconds
        try:
            is_settled = await self._settle_amendments()
            self._telemetry.rollup_settings_differ(await self._history.begin())
            due = await self._history.due(fresh)
            computed = await self._roll_up(due, fresh)
            newest = await self._history.newest()
        except StoreError as error:
            self._telemetry.rollup_failed(str(error))
            return True
        if newest is not None:
            self._telemetry.newest_day(newest)
        # A day that another replica is at may be one that it cannot compute: only who computed it knows.
        if all(computed) and is_settled:
            self._telemetry.rollup_succeeded()
        return len(computed) == len(due)

    async def _settle_amendments(self) -> bool:
        """Before the days, as they change rows; whether that could be done. What cannot be applied holds up no day."""
        try:
            silent = await self._amendments.settle()
        except StoreError as error:
            self._telemetry.rollup_failed(f"what waits for dialogues and provenance cannot be applied: {error}")
            return False
        if silent:
            self._telemetry.plugins_silent(silent)
        return True

    async def _roll_up(self, days: Sequence[date], fresh: float) -> Sequence[bool]:
        """Whether each day was computed here, as far as the time went. At least two days each time: the newest, which
        may be due again and again, must not hold up the others."""
        started = self._clock.monotonic()
        computed: list[bool] = []
        for day in days:
            if len(computed) >= 2 and self._clock.monotonic() - started >= self.pause:
                break
            computed.append(await self._roll_up_one(day, fresh))
        return computed

    async def _roll_up_one(self, day: date, fresh: float) -> bool:
        """What is wrong with one day holds up no other; where nothing can be done now, the turn ends."""
        try:
            computed = await self._history.roll_up_due(day, fresh)
        except StoreError as error:
            if isinstance(error, Unavailable) and error.cause not in OF_ONE_DAY:
                raise
            self._telemetry.rollup_failed(f"{day}: {error}")
            return False
        if computed:
            self._telemetry.rolled_up([day])
        return computed
