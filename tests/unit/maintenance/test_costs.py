"""Tests the timer of prices: when it uses a file, what it reports, and that no error ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from consumer.errors import YamlFileError
from consumer.events.costs import PriceBook, Pricing, Recomputed
from consumer.ingest.clock import SystemClock
from consumer.ingest.ports import Cause, Unavailable
from consumer.maintenance import costs
from consumer.maintenance.costs import CostJob
from tests.support.prices import BOOK

OTHER = PriceBook("other", BOOK.models, BOOK.rates)
pytestmark = pytest.mark.timeout(20)


class Recorder:
    """Costs of which some are stale, and all reports about them."""

    def __init__(self, *steps: Recomputed | None) -> None:
        self.steps, self.said = list(steps), list[str]()
        self.is_unavailable = False

    async def adopt(self, book: PriceBook) -> None:
        if self.is_unavailable:
            raise Unavailable("no connection", Cause.CONNECTION)
        self.said.append(f"adopt {book.version}")

    async def recompute(self) -> Recomputed | None:
        if self.is_unavailable:
            raise Unavailable("no connection", Cause.CONNECTION)
        return self.steps.pop(0) if self.steps else Recomputed()

    def prices_read(self, version: str, *, is_new: bool) -> None:
        self.said.append(f"{'new' if is_new else 'read'} {version}")

    def prices_refused(self, problem: str) -> None:
        self.said.append(f"refused {problem}")

    def costs_recomputed(self, done: Recomputed) -> None:
        self.said.append(f"settled {done.settled}")

    def costs_failed(self, problem: str) -> None:
        self.said.append(f"failed {problem}")


@pytest.fixture(autouse=True)
def settle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file count as complete at once."""
    monkeypatch.setattr(costs, "SETTLES_SECONDS", 0.0)


def turns(recorder: Recorder, read: Callable[[], PriceBook], pricing: Pricing, count: int = 1) -> list[str]:
    """Return the reports of so many turns."""
    job = CostJob(recorder, pricing, read, recorder, SystemClock())

    async def run() -> None:
        for _ in range(count):
            await job.run_once()

    asyncio.run(run())
    return recorder.said


def test_a_file_is_adopted_once_and_all_stale_costs_are_settled() -> None:
    """Stale costs are settled in steps until none is left."""
    recorder, pricing = Recorder(Recomputed(2), Recomputed(1)), Pricing()
    said = turns(recorder, lambda: BOOK, pricing, 2)
    assert said == ["adopt book", "new book", "settled 2", "settled 1", "read book"]
    assert pricing.book is BOOK


def test_a_file_that_is_being_written_is_not_used() -> None:
    """Its content differs when it is read again."""
    reads, pricing = iter([BOOK, OTHER, OTHER, OTHER]), Pricing()
    assert turns(Recorder(), lambda: next(reads), pricing) == []
    assert pricing.book.version == ""
    assert turns(Recorder(), lambda: next(reads), pricing) == ["adopt other", "new other"]


def test_a_wrong_file_changes_nothing_and_stale_costs_are_still_settled() -> None:
    """The earlier prices are used."""
    reads, pricing = iter([BOOK, BOOK]), Pricing()

    def read() -> PriceBook:
        for book in reads:
            return book
        raise YamlFileError("wrong")

    said = turns(Recorder(None, Recomputed(3)), read, pricing, 2)
    assert said == ["adopt book", "new book", "refused wrong", "settled 3"]
    assert pricing.book is BOOK


def test_prices_that_could_not_be_put_in_force_are_not_used() -> None:
    """The next turn tries again."""
    recorder, pricing = Recorder(), Pricing()
    recorder.is_unavailable = True
    assert turns(recorder, lambda: BOOK, pricing) == ["failed no connection"]
    assert pricing.book.version == ""
