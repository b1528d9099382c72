"""A continuous stream of records, and the progress of each partition."""

import threading
import time
from collections import defaultdict
from itertools import pairwise
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

import psycopg

from tests.support.ingestion import dialogues, send
from tests.support.service import Environment

PORTION = 30
PAUSE_S = 0.1
SAMPLE_S = 0.02


class Background:
    """Repeats work in a thread during the context; its error fails the test."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def step(self) -> None:
        """Do the work once."""
        raise NotImplementedError

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.step()
        except BaseException as error:  # noqa: BLE001 - raised again where the test can see it
            self._failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop, and wait for the end."""
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure


class Stream(Background):
    """Publishes dialogues evenly to the partitions, in acknowledged portions."""

    def __init__(self, environment: Environment, partitions: int) -> None:
        super().__init__()
        self._topic, self._partitions = environment.topics["dialogue"], partitions
        self._bootstrap = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
        self.published: set[UUID] = set()

    def step(self) -> None:
        """Publish one portion, a few records for each partition."""
        made = dialogues(self._topic, PORTION, seed=10_000 + len(self.published))
        evenly = (record._replace(partition=n % self._partitions) for n, record in enumerate(made.values()))
        # Without it, the producer may write a record twice after a late answer, which gives a duplicate.
        send(self._bootstrap, evenly, **{"enable.idempotence": True})
        self.published |= made.keys()
        self._stop.wait(PAUSE_S)


class Move(NamedTuple):
    """The ledger of a partition has moved."""

    at: float
    next_offset: int
    owner: str


class Progress(Background):
    """Observes the ledger: when each partition moved, and which process wrote it."""

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self._environment = environment
        self.moves: dict[int, list[Move]] = defaultdict(list)

    def _run(self) -> None:
        with psycopg.connect(self._environment.dsn, autocommit=True) as self._connection:
            super()._run()

    def step(self) -> None:
        """Read the ledger once."""
        rows = self._connection.execute(
            "SELECT partition, next_offset, owner FROM ingest_ledger WHERE topic = %s AND consumer_group = %s",
            [self._environment.topics["dialogue"], self._environment.group],
        ).fetchall()
        now = time.monotonic()
        for partition, next_offset, owner in rows:
            moves = self.moves[partition]
            if not moves or moves[-1].next_offset != next_offset:
                moves.append(Move(now, next_offset, owner))
        self._stop.wait(SAMPLE_S)

    def of(self, pid: int) -> set[int]:
        """Return the partitions that a process wrote last."""
        return {partition for partition, moves in self.moves.items() if moves[-1].owner.endswith(f":{pid}")}

    def first_move_after(self, moment: float, partition: int) -> float | None:
        """Return the seconds from a moment until the partition moved; None if it has not."""
        later = [move.at for move in self.moves[partition] if move.at > moment]
        return later[0] - moment if later else None

    def longest_gap(self, since: float, until: float) -> float:
        """Return the longest time in which some partition did not move."""
        gaps = []
        for moves in self.moves.values():
            times = [since, *(move.at for move in moves if since < move.at < until), until]
            gaps += [later - earlier for earlier, later in pairwise(times)]
        return max(gaps)
