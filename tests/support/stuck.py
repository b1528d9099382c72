"""`python -m tests.support.stuck FAULT run`: the service; SIGUSR1 causes a fault that it cannot notice itself.

fetcher     the task that fetches for the consumer has ended, as after errors that aiokafka swallows
partition   one partition is never fetched again, while the others are
group       a rebalance revokes the partitions, and the consumer never joins again
loop        the event loop is blocked
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from aiokafka import AIOKafkaConsumer

from consumer.__main__ import main
from tests.support.service import Environment, ServiceProcess


class StuckService(ServiceProcess):
    """The service, with a fault at SIGUSR1."""

    def __init__(self, fault: str, environment: Environment, log: Path, **settings: str) -> None:
        super().__init__(environment, log, **settings)
        self.command = ("tests.support.stuck", fault, "run")

    def cause_fault(self) -> None:
        """Cause the fault."""
        self.send(signal.SIGUSR1)


def _consumer() -> Any:
    return next(found for found in gc.get_objects() if isinstance(found, AIOKafkaConsumer))


def _stop_fetching() -> None:
    _consumer()._fetcher._fetch_task.cancel()


def _stop_fetching_one() -> None:
    fetcher = _consumer()._fetcher
    choose, lost = fetcher._get_actions_per_node, min(_consumer().assignment())

    def choose_others(assignment: Any) -> Any:
        requests, *others = choose(assignment)
        for _, request in requests:
            request._topics = [
                (topic, [part for part in parts if (topic, part[0]) != lost]) for topic, parts in request._topics
            ]
        return requests, *others

    fetcher._get_actions_per_node = choose_others
    for under_way in fetcher._pending_tasks:
        under_way.cancel()


def _never_join_again() -> None:
    coordinator = _consumer()._coordinator

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    coordinator._do_rejoin_group = hang
    coordinator.request_rejoin()


def _block() -> None:
    time.sleep(3600)


FAULTS: dict[str, Callable[[], None]] = {
    "fetcher": _stop_fetching,
    "partition": _stop_fetching_one,
    "group": _never_join_again,
    "loop": _block,
}


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    FAULTS[FAULT]()


if __name__ == "__main__":
    FAULT = sys.argv.pop(1)
    signal.signal(signal.SIGUSR1, _on_signal)
    main()
