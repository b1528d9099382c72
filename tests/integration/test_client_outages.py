"""Tests the client while Kafka stops and starts, and processes fork and end: every event is in the tables once."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.devstack import KafkaNode, Workspace
from consumer.devstack.server import free_ports
from ragledger_client import Ledger, Stats
from tests.support.chart import ROOT
from tests.support.guarded_kafka import PASSWORD, USER, GuardedKafka
from tests.support.ingestion import counts, environment_on, ids, ingest, watermark
from tests.support.service import Environment, eventually
from tests.support.stack import QUICK_RESTART, Database, SharedServers, Topics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="stops embedded servers"),
]

KINDS = ("dialogue", "feedback", "provenance")


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaNode]:
    """Return a broker for this file; a test that stops it starts it again."""
    with Workspace() as workspace:
        node = KafkaNode(workspace, properties=QUICK_RESTART)
        node.start()
        yield node


@pytest.fixture
def environment(broker: KafkaNode, postgres18: Database, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database."""
    servers = SharedServers(broker.bootstrap_servers, postgres18.dsn)
    with environment_on(servers, migrated_template, partitions=2, kinds=KINDS) as made:
        yield made


class Application:
    """A scenario of `tests.support.client_program`, or gunicorn, and its output."""

    def __init__(self, command: list[str], environment: Environment, broker: KafkaNode, log: IO[bytes], **ledger: Any):
        variables = {
            "SERVERS": broker.bootstrap_servers,
            "TOPICS": json.dumps({kind: environment.topics[kind] for kind in KINDS}),
            "LEDGER": json.dumps(ledger),
            "PYTHONPATH": str(ROOT),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.log = Path(log.name)

    def said(self) -> list[dict[str, Any]]:
        """Return the lines of JSON so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def ids(self) -> list[UUID]:
        """Return the recorded ids."""
        return [UUID(one) for line in self.said() for one in line.get("ids", ())]

    def wait(self) -> int:
        """Wait for its end. Return the exit code."""
        return self.process.wait(120)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[bytes]]:
    """Return the log file of an application."""
    with (tmp_path / "application.log").open("ab") as file:
        yield file


@contextmanager
def running(
    scenario: str, environment: Environment, broker: KafkaNode, log: IO[bytes], **ledger: Any
) -> Iterator[Application]:
    """Run a scenario as a process; kill it at the end if it still runs."""
    application = Application(["tests.support.client_program", scenario], environment, broker, log, **ledger)
    try:
        yield application
    finally:
        application.process.kill()
        application.process.wait()


def assert_each_once(environment: Environment, recorded: list[UUID], tmp_path: Path) -> None:
    """Assert that the service finds every recorded event once, and no other one."""
    assert len(recorded) == len(set(recorded)) > 0
    ingest(environment, len(recorded), tmp_path / "service.log")
    assert ids(environment) == set(recorded)
    assert counts(environment) == {"inserted": len(recorded), "duplicates": 0, "dead": 0}
    assert watermark(
        environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], environment.topics["dialogue"], 2
    ) == len(recorded)


def test_kafka_may_be_down_at_the_start_and_later(
    broker: KafkaNode, environment: Environment, log: IO[bytes], tmp_path: Path
) -> None:
    """The broker is killed and stopped in order. Events wait, the outage is reported, and each event arrives once."""
    broker.kill()
    try:
        with running("outage", environment, broker, log) as application:
            eventually(lambda: "Kafka is unreachable" in application.log.read_text(), message="the outage is reported")
            for end in (broker.kill, broker.stop):
                broker.restart()
                topic, servers = environment.topics["dialogue"], broker.bootstrap_servers
                before = watermark(servers, topic, 2)
                eventually(lambda: watermark(servers, topic, 2) > before + 20, message="events arrive")  # noqa: B023
                end()
            broker.restart()
            assert application.process.stdin
            application.process.stdin.write(b"\n")
            application.process.stdin.close()
            assert application.wait() == 0
            (result,) = application.said()
    finally:
        broker.restart()
    assert result["is_flushed"]
    assert result["stats"]["delivered"] == result["stats"]["recorded"] == len(result["ids"])
    assert_each_once(environment, application.ids(), tmp_path)


def test_forked_children_send_their_own_events(
    broker: KafkaNode, environment: Environment, log: IO[bytes], tmp_path: Path
) -> None:
    """This includes events that they recorded while Kafka was down. Only the parent sends its own waiting events."""
    broker.kill()
    try:
        with running("forking", environment, broker, log) as application:
            eventually(lambda: len(application.said()) == 8, message="every process has recorded")
            broker.restart()
            assert application.wait() == 0
    finally:
        broker.restart()
    assert application.said()[-1]["codes"] == [0, 0]
    assert len({line["pid"] for line in application.said() if "pid" in line}) == 5
    assert_each_once(environment, application.ids(), tmp_path)


def test_forks_while_threads_record_and_send(
    broker: KafkaNode, environment: Environment, log: IO[bytes], tmp_path: Path
) -> None:
    """The process forks twenty times while threads record and librdkafka sends."""
    with running("forking_with_threads", environment, broker, log) as application:
        assert application.wait() == 0
    assert application.said()[-1]["codes"] == [0] * 20
    assert_each_once(environment, application.ids(), tmp_path)


@pytest.mark.parametrize(
    ("scenario", "code", "handled"),
    [("sigterm", -signal.SIGTERM, False), ("sigterm_exit", 3, True), ("sigterm_die", 4, True), ("at_exit", 0, False)],
)
def test_the_end_of_a_process_loses_nothing(
    broker: KafkaNode,
    environment: Environment,
    log: IO[bytes],
    tmp_path: Path,
    scenario: str,
    code: int,
    handled: bool,
) -> None:
    """The process ends as it would without the client, and the application's signal handler runs."""
    with running(scenario, environment, broker, log) as application:
        eventually(application.ids, message="an event is recorded")
        if scenario != "at_exit":
            application.process.terminate()
        assert application.wait() == code
    assert any("handled" in line for line in application.said()) == handled
    assert_each_once(environment, application.ids(), tmp_path)


@pytest.mark.parametrize("options", [["--preload"], [], ["--worker-class=gthread", "--threads=4"]])
def test_gunicorn_while_kafka_stops_and_starts(
    broker: KafkaNode, environment: Environment, log: IO[bytes], tmp_path: Path, options: list[str]
) -> None:
    """Every answer of every worker is in the table once, including those that waited when the workers were stopped."""
    port = free_ports(1)[0]
    command = ["gunicorn", "--workers=2", f"--bind=127.0.0.1:{port}", "--graceful-timeout=60", *options]
    application = Application([*command, "tests.support.client_program:application"], environment, broker, log)
    answered: list[dict[str, Any]] = []

    def ask(count: int) -> None:
        for _ in range(count):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
                answered.append(json.load(response))

    try:
        eventually(lambda: "Booting worker" in application.log.read_text(), message="the workers have started")
        ask(50)
        broker.kill()
        ask(50)
        broker.restart()
        ask(50)
        application.process.terminate()
        assert application.wait() == 0
    finally:
        application.process.kill()
        application.process.wait()
        broker.restart()
    assert len({one["pid"] for one in answered}) >= 2
    assert_each_once(environment, [UUID(one["id"]) for one in answered], tmp_path)


# ── problems that a person has to fix ────────────────────────────────────────────────────────────────────────────────


def assert_waits_for(problem: str, put_right: Callable[[], object], servers: str, topic: str, **config: Any) -> None:
    """Assert that events wait while the problem lasts, that it is reported once, and that they are delivered
    afterwards.
    """
    problems: list[str] = []
    quick = {"topic.metadata.propagation.max.ms": 500, "topic.metadata.refresh.fast.interval.ms": 100}
    ledger = Ledger(
        servers, topics={"feedback": topic}, config=quick | config, on_problem=problems.append, flush_on_sigterm=False
    )
    for _ in range(10):
        ledger.feedback(uuid4(), +1)
    eventually(lambda: any(problem in one for one in problems), message=f"{problem}: {problems}")
    ledger.feedback(uuid4(), +1)
    assert not ledger.flush(1)
    assert ledger.stats().waiting == 11
    put_right()
    assert ledger.flush(90), problems
    ledger.close()
    assert ledger.stats() == Stats(recorded=11, delivered=11, waiting=0, waiting_bytes=0, dropped={})
    assert sum(problem in one for one in problems) == 1


def test_events_wait_for_a_topic_that_is_missing(broker: KafkaNode) -> None:
    """They are delivered when it is created."""
    topics = Topics(broker.bootstrap_servers)
    name = topics.later()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    try:
        assert_waits_for(
            "the topic does not exist",
            lambda: admin.create_topics([NewTopic(name, 1, 1)])[name].result(30),
            broker.bootstrap_servers,
            name,
        )
    finally:
        topics.delete_all()


def test_events_wait_for_a_right_that_is_missing() -> None:
    """Without any right, the producer of librdkafka cannot be used any more; the client continues with a new one."""
    with Workspace() as workspace:
        guarded = GuardedKafka(workspace)
        name = guarded.create("feedback")
        login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
        user = {"sasl.username": USER, "sasl.password": PASSWORD}
        assert_waits_for(
            "CLUSTER_AUTHORIZATION_FAILED; events wait",
            lambda: guarded.grant("topic", name, "Write"),
            guarded.guarded_servers,
            name,
            **login,
            **user,
        )
