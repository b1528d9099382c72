"""Tests two runs of each operator job at once, beside a service that reads: all succeed, and no record is lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.ingestion import Outgoing, counts, dialogues, environment_on, ids, send
from tests.support.notices import acquired, insert
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ERASED = UUID("5018c5a3-91f3-46af-94ff-2f9d15565fb4")
PORTION, BAD, OF_ERASED = 200, 20, 30
JOBS = (
    ("migrate", "up"),
    ("rollup", "--day", f"{datetime.now(UTC):%Y-%m-%d}"),
    ("retention", "run"),
    ("partition", "convert"),
    ("partition", "ensure"),
    ("erase", "--user", str(ERASED)),
    ("dead-letters", "replay"),
    ("dead-letters", "discard", "--reason", "not_json"),
    ("provenance", "export"),
    ("ledger", "--check"),
)


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an unpartitioned database, with provenance whose retention is over."""
    with environment_on(stack, migrated_template, partitions=2, kinds=("dialogue", "expired")) as made:
        insert(made.dsn, acquired(50))
        yield made


class Publisher:
    """Publishes portions until it is stopped: good records, bad ones, and some of the user who is erased."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._stopping = environment, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.kept: set[UUID] = set()
        self.records = 0

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Publish no more portions."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        topic = self._environment.topics["dialogue"]
        while not self._stopping.is_set():
            kept = dialogues(topic, PORTION, seed=self.records + 1)
            erased = dialogues(topic, OF_ERASED, seed=self.records + 2, user_id=str(ERASED))
            records = [*kept.values(), *erased.values(), *[Outgoing(topic, b"no JSON")] * BAD]
            send(self._environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], records)
            self.kept |= kept.keys()
            self.records += len(records)


def run_two_at_once(environment: Environment, job: tuple[str, ...]) -> None:
    """Run a command in two processes at once; both succeed."""
    with ThreadPoolExecutor(2) as both:
        for done in [both.submit(environment.run, *job) for _ in range(2)]:
            assert done.result().returncode == 0, (job, done.result().stderr)


def test_two_runs_of_each_job_at_once_beside_ingestion(environment: Environment, tmp_path: Path) -> None:
    """The books add up, every record that was not erased is stored, and of the erased user nothing is."""
    with ServiceProcess(environment, tmp_path / "log") as service, Publisher(environment) as publisher:
        for job in JOBS:
            reached = read(environment)
            run_two_at_once(environment, job)
            eventually(lambda reached=reached: read(environment) > reached, message=f"reading continues after {job}")  # type: ignore[misc]
        publisher.stop()
        environment.assert_caught_up(timeout=60)
        assert service.stop() == 0
    assert environment.run("erase", "--user", str(ERASED)).returncode == 0
    assert ids(environment) == publisher.kept
    assert sum(counts(environment).values()) == publisher.records
    assert environment.value(f"SELECT count(*) FROM ai_dialogue_log WHERE user_id = '{ERASED}'") == 0


def read(environment: Environment) -> int:
    """Return how many records the ledger covers."""
    return int(environment.value("SELECT coalesce(sum(next_offset - start_offset), 0) FROM ingest_ledger"))
