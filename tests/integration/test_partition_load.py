"""Tests a conversion of 200,000 rows during ingestion and other writes: short waits, and no loss."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    environment_on,
    ids,
    on_other_database,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.partitions import assert_sound, one_dialogue
from tests.support.producers import random_uuid
from tests.support.psql import FILES, VERSIONS, execute, run_files, server_dsn
from tests.support.service import Environment, ServiceProcess
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILLED = 200_000
FILL = f"""
INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'before', repeat('answer ', 40), 'm',
       now() AT TIME ZONE 'UTC' - n * interval '1 minute'
FROM generate_series(1, {FILLED}) AS n
"""
PORTION = 1_000
# There are always records to write, but not more than the service can process in time.
BACKLOG = 5 * PORTION
# A try for a lock lasts up to 1.2 s; the rest allows for a busy machine.
LONGEST_WAIT_S = 20.0  # a second on an idle machine; here other tests use the processors


@pytest.fixture(params=VERSIONS)
def environment(request: pytest.FixtureRequest, stack: Servers) -> Iterator[Environment]:
    """Return Kafka, and a filled database on either version."""
    with environment_on(stack, None, partitions=2) as kafka, fresh_database(server_dsn(request)) as dsn:
        run_files(dsn, *FILES)
        execute(dsn, FILL)
        yield on_other_database(kafka, dsn)


class Publisher:
    """Publishes until it is stopped: new dialogues, and every tenth again with another time."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self._chance = environment, random.Random(3)
        self.published: set[UUID] = set()
        self.again = 0

    @property
    def records(self) -> int:
        """Return the number of published records."""
        return len(self.published) + self.again

    def portion(self) -> None:
        """Return a thousand new records and a hundred duplicates."""
        topic = self._environment.topics["dialogue"]
        events = [small_dialogue(self._chance, id=str(random_uuid(self._chance))) for _ in range(PORTION)]
        duplicates = [event | {"created_at": f"20{year:02}-05-05T00:00:00Z"} for year, event in enumerate(events[::10])]
        records = [Outgoing(topic, as_json(event)) for event in (*events, *duplicates)]
        send(self._environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], records)
        self.published |= {UUID(event["id"]) for event in events}
        self.again += len(duplicates)


class Watch:
    """Measures how long writers wait for locks, and writes too."""

    def __init__(self, dsn: str) -> None:
        self._dsn, self._stop = dsn, threading.Event()
        self.longest_wait = 0.0
        self.slowest_write = 0.0
        self.written: set[UUID] = set()
        self.errors: list[Exception] = []

    def look(self) -> None:
        """Read the waits of the service from the server's statistics."""
        waiting = (
            "SELECT max(extract(epoch FROM clock_timestamp() - waitstart))::float8 FROM pg_locks"
            " JOIN pg_stat_activity USING (pid) WHERE NOT granted AND application_name = 'ragledger'"
        )
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.wait(0.02):
                found = connection.execute(waiting.encode()).fetchone()
                self.longest_wait = max(self.longest_wait, (found and found[0]) or 0.0)

    def write(self) -> None:
        """Insert and change a row, delete every second one, and change an old row."""
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self._stop.wait(0.05):
                    self._write_once(connection)
        except psycopg.Error as error:
            self.errors.append(error)

    def _write_once(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        started = time.monotonic()
        made = connection.execute(f"{one_dialogue()} RETURNING id".encode()).fetchone()
        assert made
        identity = made[0]
        assert isinstance(identity, UUID)
        connection.execute("UPDATE ai_dialogue_log SET user_feedback = 1 WHERE id = %s", [identity])
        if identity.int % 2:
            connection.execute("DELETE FROM ai_dialogue_log WHERE id = %s", [identity])
        else:
            self.written.add(identity)
        self.slowest_write = max(self.slowest_write, time.monotonic() - started)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run both in threads."""
        threads = [threading.Thread(target=work) for work in (self.look, self.write)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)


def test_a_conversion_under_load(environment: Environment, tmp_path: Path) -> None:
    """The ledger adds up, every id is one row in its month, and no write waited long."""
    before = ids(environment)
    publisher, watch = Publisher(environment), Watch(environment.dsn)
    converting = Converting(environment)
    with ServiceProcess(environment, tmp_path / "run.log") as service, watch.running():
        service.wait_ready()
        publisher.portion()
        wait_for_records(environment, publisher.records)
        with converting.running():
            while converting.is_running:
                publisher.portion()
                wait_for_records(environment, publisher.records - BACKLOG)
        publisher.portion()
        wait_for_records(environment, publisher.records, timeout=120)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert converting.result["state"] == "done", converting.result
    assert watch.errors == []
    assert ids(environment) == before | publisher.published | watch.written
    assert counts(environment) == {"inserted": len(publisher.published), "duplicates": publisher.again, "dead": 0}
    assert_sound(environment.dsn)
    assert watch.longest_wait < LONGEST_WAIT_S
    print(watch.longest_wait, watch.slowest_write, len(publisher.published), converting.result)


class Converting:
    """Runs the command in a thread."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._thread = threading.Thread(target=self._run)
        self.result: dict[str, object] = {}

    def _run(self) -> None:
        self.result = self._environment.run_json("partition", "convert")

    @property
    def is_running(self) -> bool:
        """Return whether it still runs."""
        return self._thread.is_alive()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and wait for its end."""
        self._thread.start()
        yield
        self._thread.join(120)
