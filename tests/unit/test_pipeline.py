"""The main path: what is produced is in the tables once, and in order."""

from __future__ import annotations

from tests.unit.world import A, World


async def test_records_land_once_and_in_order() -> None:
    """Every record of a partition becomes one row, in offset order."""
    world = World()
    async with world.reader() as reader:
        world.produce(A, 1000)
        await reader.own(A)
        await world.caught_up(A)
    assert world.offsets(A) == list(range(1000))
