"""Tests that the page is cached: many requests need one snapshot."""

from __future__ import annotations

import asyncio

from consumer.http.page.server import PageServer
from consumer.http.page.snapshot import Snapshot
from tests.support.fakes import LoopClock
from tests.support.virtual_time import time_passes
from tests.unit.http.page.snapshots import NOW


class SlowSnapshots:
    """Takes a second for each snapshot."""

    def __init__(self) -> None:
        self.looks = 0
        self.problem = ""

    async def take(self) -> Snapshot:
        self.looks += 1
        await asyncio.sleep(1)
        return Snapshot(NOW, problem=self.problem)


async def test_concurrent_requests_share_one_snapshot() -> None:
    """A hundred requests at once, and a hundred more while the page is cached, take one snapshot."""
    look = SlowSnapshots()
    page = PageServer(look, LoopClock())
    first = await asyncio.gather(*(page.get() for _ in range(100)))
    await time_passes(1.9)
    assert {*first, await page.get()} == {first[0]}
    assert look.looks == 1
    await time_passes(0.2)
    await page.get()
    assert look.looks == 2


async def test_a_client_that_disconnects_does_not_cancel_the_page_for_the_others() -> None:
    """The snapshot is completed for the others."""
    look = SlowSnapshots()
    page = PageServer(look, LoopClock())
    leaving, staying = asyncio.create_task(page.get()), asyncio.create_task(page.get())
    await time_passes(0.5)
    leaving.cancel()
    assert (await staying).status == 200
    assert look.looks == 1


async def test_an_outage_gives_503_and_is_cached_too() -> None:
    """The page does not ask an unavailable database a hundred times a second."""
    look = SlowSnapshots()
    look.problem = "unavailable"
    page = PageServer(look, LoopClock())
    assert {(await page.get()).status for _ in range(100)} == {503}
    assert look.looks == 1
    look.problem = ""
    await time_passes(2.1)
    assert (await page.get()).status == 200
