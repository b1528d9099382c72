"""Tests the embedded Kafka and PostgreSQL: they work, keep their data when killed, and leave nothing behind."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from consumer.devstack import EmbeddedError, KafkaCluster, PostgresServer, Stack, Workspace, postgres
from tests.support.stack import QUICK_RESTART, Database, Servers, Topics, wait_for

OWNER = """
import json, signal
from consumer.devstack import Stack
with Stack(durable=False) as stack:
    print(json.dumps([str(stack.directory), stack.kafka.pid, stack.postgres.pid]), flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Return a stack that may be killed without affecting other tests."""
    with Stack(durable=False, kafka_properties=QUICK_RESTART) as stack:
        yield stack


async def produce(bootstrap_servers: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def consume(bootstrap_servers: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", group_id=f"of-{topic}"
    )
    async with consumer:
        record = await asyncio.wait_for(consumer.getone(), timeout=30)
    value: bytes | None = record.value
    return value


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def own_children() -> set[psutil.Process]:
    # Without grandchildren, because backends of the shared PostgreSQL start and end.
    return set(psutil.Process().children())


async def test_a_record_is_written_and_read(bootstrap_servers: str, topic_factory: Callable[..., str]) -> None:
    """A record that is produced to the embedded Kafka is consumed by a group."""
    topic = topic_factory(partitions=1)
    await produce(bootstrap_servers, topic, b"hello")
    assert await consume(bootstrap_servers, topic) == b"hello"


def test_the_database_is_ready_to_use(stack: Servers) -> None:
    """The DSN names an empty database in UTF-8 with the time zone UTC."""
    query = "SELECT current_database(), current_setting('server_encoding'), current_setting('timezone')"
    with psycopg.connect(stack.dsn) as connection:
        assert connection.execute(query).fetchone() == ("ragledger", "UTF8", "UTC")


def test_postgres_15_can_be_used(postgres15: Database) -> None:
    """The oldest supported PostgreSQL starts from the binaries of the system."""
    with psycopg.connect(postgres15.dsn) as connection:
        assert connection.info.server_version // 10_000 == 15


@pytest.mark.slow
async def test_a_stack_leaves_no_process_and_no_file() -> None:
    """After a stack has stopped, its directory and every process that it started are gone."""
    before = own_children()
    async with Stack(durable=False) as stack:
        assert stack.directory.is_dir()
        assert {stack.kafka.pid, stack.postgres.pid} <= {process.pid for process in own_children()}
        stack.check()
    assert own_children() == before
    assert not stack.directory.exists()


@pytest.mark.slow
async def test_the_second_start_does_not_resolve_the_jars_again(stack: Servers) -> None:
    """If a stack has run before, the jars are cached, and only the servers start."""
    said: list[str] = []
    async with Stack(durable=False, progress=said.append):
        assert sorted(said) == ["starting Kafka 4.3.1", "starting PostgreSQL 18"]


@pytest.mark.slow
async def test_killed_kafka_keeps_its_records(own_stack: Stack) -> None:
    """A record acknowledged before SIGKILL exists after a restart on the same port."""
    topics = Topics(own_stack.bootstrap_servers)
    topic = topics.create()
    await produce(own_stack.bootstrap_servers, topic, b"before")
    own_stack.kafka.kill()
    with pytest.raises(EmbeddedError, match="kafka-1 has ended"):
        own_stack.check()
    own_stack.kafka.restart()
    assert await consume(own_stack.bootstrap_servers, topic) == b"before"


@pytest.mark.slow
def test_killed_postgres_keeps_its_rows(own_stack: Stack) -> None:
    """A row committed before SIGKILL exists after a restart on the same port, with backends at work."""
    with psycopg.connect(own_stack.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        connection.commit()
        own_stack.postgres.kill()
    assert not own_stack.postgres.is_running
    own_stack.postgres.restart()
    with psycopg.connect(own_stack.dsn) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (1,)


@pytest.mark.slow
async def test_the_servers_end_with_a_killed_owner() -> None:
    """SIGKILL to the owner also ends both servers and removes the directory."""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    directory, *pids = json.loads(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    await wait_for(lambda: not any(map(is_alive, pids)), message="the servers have ended")
    await wait_for(lambda: not Path(directory).exists(), message="the directory is removed")


@pytest.mark.slow
async def test_a_failed_start_names_the_reason_and_leaves_nothing() -> None:
    """The error names a setting that Kafka rejects; PostgreSQL, which was started too, is gone."""
    before = own_children()
    stack = Stack(durable=False, kafka_properties={"log.retention.bytes": "plenty"})
    with pytest.raises(EmbeddedError, match=r"(?s)Kafka.*log\.retention\.bytes"):
        await stack.__aenter__()
    assert own_children() == before
    assert not stack.directory.exists()


@pytest.mark.slow
async def test_a_cancelled_start_leaves_nothing() -> None:
    """A start that is cancelled, as by a signal, ends and cleans up."""
    before = own_children()
    stack = Stack(durable=False)
    start = asyncio.create_task(stack.__aenter__())
    await wait_for(lambda: stack.kafka.is_running, message="Kafka's process has started")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert own_children() == before
    assert not stack.directory.exists()


@pytest.mark.slow
async def test_three_nodes_are_one_cluster() -> None:
    """A topic with three replicas survives the loss of a node."""
    with Workspace() as workspace:
        cluster = KafkaCluster(workspace, size=3, properties=QUICK_RESTART)
        cluster.start()
        topic = Topics(cluster.bootstrap_servers).create(replication_factor=3)
        await produce(cluster.bootstrap_servers, topic, b"replicated")
        cluster.nodes[0].kill()
        assert await consume(cluster.bootstrap_servers, topic) == b"replicated"


def test_a_missing_version_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the binaries of PostgreSQL 15, the error says where they were expected and how to install them."""
    monkeypatch.setattr(postgres, "DEBIAN_ROOT", tmp_path)
    with (
        Workspace() as workspace,
        pytest.raises(EmbeddedError, match=r"apt-get install postgresql-15") as error,
    ):
        PostgresServer(workspace, version=15)
    assert str(tmp_path / "15" / "bin" / "initdb") in str(error.value)


def test_without_the_extra_the_import_names_it() -> None:
    """Importing the embedded servers without their packages names the extra to install."""
    script = "import sys; sys.modules['jgo'] = None; import consumer.devstack"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "need jgo, which is not installed" in result.stderr
    assert "pip install 'ragledger[embedded]'" in result.stderr
