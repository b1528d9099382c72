"""The periodic job that keeps the daily aggregates equal to the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from consumer.ingest.ports import Cause, Clock, StoreError, Unavailable

# Causes that concern one day: it is too large, another session holds a lock, or a user's trigger rejects its row.
# The other days can still be computed.
SINGLE_DAY_CAUSES = frozenset({Cause.CONFLICT, Cause.LOCK, Cause.REFUSED, Cause.RESOURCES, Cause.TIMEOUT})


class History(Protocol):
    """The daily aggregates."""

    async def begin(self) -> str:
        """Read the basis in force. The first call puts ours in force.

        :returns: how the basis in force differs from ours; empty if it does not
        :raises StoreError: the database is unavailable
        """
        ...

    async def due(self, fresh_seconds: float) -> Sequence[date]:
        """Return the days to compute, newest first. A day computed less than `fresh_seconds` ago is left out.

        :raises StoreError: the database is unavailable
        """
        ...

    async def roll_up_due(self, day: date, fresh_seconds: float) -> bool:
        """Compute a day. Return False if another replica is computing it or has just done so, or if its rows were
        archived.

        :raises StoreError: the database is unavailable
        """
        ...

    async def newest(self) -> Mapping[str, Any] | None:
        """Return the row of the newest day."""
        ...


class Amendments(Protocol):
    """Amendments that wait in the database."""

    async def settle(self) -> Sequence[str]:
        """Apply waiting amendments whose row now exists, and set silent plugins to unhealthy.

        :returns: the names of these plugins
        :raises StoreError: the database is unavailable
        """
        ...


class DayTelemetry(Protocol):
    """Reports on the roll-up."""

    def rolled_up(self, days: Sequence[date]) -> None:
        """Report days that have been computed."""
        ...

    def newest_day(self, day: Mapping[str, Any]) -> None:
        """Report the row of the newest day, whichever replica has computed it."""
        ...

    def rollup_succeeded(self) -> None:
        """Report that every due day was computed here, or that none was due."""
        ...

    def plugins_silent(self, names: Sequence[str]) -> None:
        """Report plugins that have sent nothing for too long."""
        ...

    def rollup_failed(self, problem: str) -> None:
        """Report why days could not be computed; they stay due."""
        ...

    def rollup_settings_differ(self, difference: str) -> None:
        """Report how the basis in force differs from ours; empty if it does not."""
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
        """Compute the due days, then show the newest day. A day that fails stays due and does not delay the others.

        :param fresh_seconds: a row computed less than this ago can wait; half of the interval by default
        :returns: whether every due day was tried; if not, today's row may already be due again
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
        # A day that another replica is computing may still fail there; only that replica knows.
        if all(computed) and is_settled:
            self._telemetry.rollup_succeeded()
        return len(computed) == len(due)

    async def _settle_amendments(self) -> bool:
        """Apply waiting amendments first, because they change rows. Return False on failure; days are still
        computed.
        """
        try:
            silent = await self._amendments.settle()
        except StoreError as error:
            self._telemetry.rollup_failed(f"amendments that wait for their rows cannot be applied: {error}")
            return False
        if silent:
            self._telemetry.plugins_silent(silent)
        return True

    async def _roll_up(self, days: Sequence[date], fresh: float) -> Sequence[bool]:
        """Return whether each day was computed here. Stop after the time limit, but try at least two days: the newest
        may be due every time and must not keep the others waiting."""
        started = self._clock.monotonic()
        computed: list[bool] = []
        for day in days:
            if len(computed) >= 2 and self._clock.monotonic() - started >= self.pause:
                break
            computed.append(await self._roll_up_one(day, fresh))
        return computed

    async def _roll_up_one(self, day: date, fresh: float) -> bool:
        """Compute one day. Report an error that concerns only this day; raise any other."""
        try:
            computed = await self._history.roll_up_due(day, fresh)
        except StoreError as error:
            if isinstance(error, Unavailable) and error.cause not in SINGLE_DAY_CAUSES:
                raise
            self._telemetry.rollup_failed(f"{day}: {error}")
            return False
        if computed:
            self._telemetry.rolled_up([day])
        return computed
