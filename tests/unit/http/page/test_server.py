"""The page is kept for a moment: many readers are one look."""

from __future__ import annotations

import asyncio

from consumer.http.page.server import PageServer
from consumer.http.page.snapshot import Snapshot
from tests.support.fakes import LoopClock
from tests.support.virtual_time import passes
from tests.unit.http.page.snapshots import NOW


class SlowLook:
    """Takes a second for a look."""

    def __init__(self) -> None:
        self.looks = 0
        self.problem = ""

    async def take(self) -> Snapshot:
        self.looks += 1
        await asyncio.sleep(1)
        return Snapshot(NOW, problem=self.problem)


async def test_however_many_ask_one_look_is_taken() -> None:
    """A hundred at once, and a hundred more within the moment that the page is kept."""
    look = SlowLook()
    page = PageServer(look, LoopClock())
    first = await asyncio.gather(*(page.get() for _ in range(100)))
    await passes(1.9)
    assert {*first, await page.get()} == {first[0]}
    assert look.looks == 1
    await passes(0.2)
    await page.get()
    assert look.looks == 2


async def test_a_reader_who_goes_away_does_not_take_the_page_from_the_others() -> None:
    """The look goes on for them."""
    look = SlowLook()
    page = PageServer(look, LoopClock())
    leaving, staying = asyncio.create_task(page.get()), asyncio.create_task(page.get())
    await passes(0.5)
    leaving.cancel()
    assert (await staying).status == 200
    assert look.looks == 1


async def test_an_outage_is_a_503_and_kept_as_well() -> None:
    """A database that is down is not asked a hundred times a second either."""
    look = SlowLook()
    look.problem = "away"
    page = PageServer(look, LoopClock())
    assert {(await page.get()).status for _ in range(100)} == {503}
    assert look.looks == 1
    look.problem = ""
    await passes(2.1)
    assert (await page.get()).status == 200
