"""Tests `ragledger retention run` with a kill at every step: everything is archived, and every owner gets one
notice.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from consumer.kafka.tools import Message
from consumer.kafka.transactions import TransactionalTopic
from consumer.maintenance.retention import Done, Expiry, Notices, Retention
from consumer.postgres.client import Database
from consumer.settings.servers import Kafka, Postgres
from tests.support.ingestion import ids
from tests.support.notices import ALICE, BOB, Notice, acquired, insert, published, retention_environment, run_killed
from tests.support.psql import execute
from tests.support.service import Environment
from tests.support.stack import Servers, Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MOST_STEPS = 150


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and a topic for notices; one batch may contain the rows of several interrupted runs."""
    with retention_environment(stack, migrated_template, RAGLEDGER_RETENTION__BATCH_ROWS="30") as made:
        yield made


@pytest.mark.timeout(600)
def test_killed_at_every_step_each_owner_gets_one_notice(environment: Environment) -> None:
    """SIGKILL comes at each step in turn, and each run continues after the previous one, until one finishes."""
    over: set[UUID] = set()
    for step in range(1, MOST_STEPS):
        over |= insert(environment.dsn, acquired(1, ALICE), acquired(1, BOB), acquired(1))
        if run_killed(environment, step, "retention", "run") == 0:
            break
    else:
        pytest.fail(f"a run has more than {MOST_STEPS} steps")
    assert step > 20
    assert ids(environment, "provenance") == set()
    assert environment.value("SELECT count(*) FROM retention_archive") == len(over)
    assert environment.value("SELECT count(*) FROM retention_notices WHERE published_at IS NULL") == 0
    assert environment.value("SELECT count(*) FROM retention_runs WHERE ended_at IS NULL") == 0
    notices = published(environment)
    assert_once(notices)
    assert {content["id"] for notice in notices for content in notice.body["contents"]} == set(map(str, over))


def assert_once(notices: list[Notice]) -> None:
    """Assert that no notice is a duplicate, no piece is in two notices, and no run has two notices for an owner."""
    contents = [content["id"] for notice in notices for content in notice.body["contents"]]
    assert Counter(contents).most_common(1)[0][1] == 1
    assert Counter(notice.body["notice_id"] for notice in notices).most_common(1)[0][1] == 1
    assert Counter((notice.body["run_id"], notice.body["owner"]) for notice in notices).most_common(1)[0][1] == 1


def kafka(environment: Environment) -> Kafka:
    """Return the Kafka settings of the environment."""
    servers = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
    return Kafka(bootstrap_servers=servers, group_id=environment.group)


def topic_of(environment: Environment) -> TransactionalTopic:
    """Return the topic of notices, as a run writes it."""
    return TransactionalTopic(kafka(environment), environment.topics["expired"], f"{environment.group}-retention")


def test_an_open_transaction_of_an_earlier_process_is_aborted(environment: Environment) -> None:
    """The next run publishes its notices, and the earlier process can no longer commit."""
    insert(environment.dsn, acquired(2, ALICE))

    async def scenario() -> None:
        async with topic_of(environment) as earlier:
            producer = earlier._producer
            await producer.begin_transaction()
            await producer.send_and_wait(environment.topics["expired"], b'{"unfinished": true}')
            done = await asyncio.to_thread(environment.run_json, "retention", "run")
            assert done["published"] == 1
            with pytest.raises(Exception, match="transactional"):
                await producer.commit_transaction()

    asyncio.run(scenario())
    assert [notice.body.get("owner") for notice in published(environment)] == [str(ALICE)]


def test_notices_that_were_published_but_not_marked_are_found(environment: Environment) -> None:
    """The process was killed between the commit in Kafka and the mark: they are found in any partition."""
    insert(environment.dsn, acquired(2, ALICE), acquired(1, BOB))
    environment.run_json("retention", "run")
    execute(environment.dsn, "UPDATE retention_notices SET published_at = NULL")
    done = environment.run_json("retention", "run")
    assert (done["published"], done["found"]) == (0, 2)
    assert len(published(environment)) == 2
    assert environment.run_json("retention", "run")["found"] == 0


def test_foreign_records_in_the_topic_are_ignored(environment: Environment) -> None:
    """They have no headers, or an id that is not ours."""
    insert(environment.dsn, acquired(1, ALICE))
    environment.run_json("retention", "run")
    execute(environment.dsn, "UPDATE retention_notices SET published_at = NULL")
    topic = environment.topics["expired"]

    async def scenario() -> None:
        async with topic_of(environment) as writing:
            other = [("ce_id", b"another's"), ("x", b"\xff")]
            await writing.write([Message(topic, b"{}"), Message(topic, b"{}", None, other)])

    asyncio.run(scenario())
    assert environment.run_json("retention", "run")["found"] == 1


def test_if_the_delivery_of_notices_is_unknown_a_person_decides(
    environment: Environment, bootstrap_servers: str
) -> None:
    """The topic was recreated meanwhile: nothing is sent, the message names the fix, and --publish-again does it."""
    insert(environment.dsn, acquired(1, ALICE))
    environment.run_json("retention", "run")
    execute(environment.dsn, "UPDATE retention_notices SET published_at = NULL")
    topics = Topics(bootstrap_servers)
    environment.variables["RAGLEDGER_TOPICS__EXPIRED"] = topics.create(1, prefix="expired")
    execute(environment.dsn, f'UPDATE retention_notices SET sent_from = \'{{"{topics._names[0]}": {{"0": 7}}}}\'')
    try:
        refused = environment.run("retention", "run")
        assert refused.returncode == 1
        assert "--publish-again" in refused.stderr.replace("\n", " ")
        assert environment.run_json("retention", "preview")["waiting_notices"] == 1
        assert environment.run_json("retention", "run", "--publish-again")["published"] == 1
    finally:
        topics.delete_all()


def test_many_notices_are_published_in_parts(environment: Environment) -> None:
    """There are more owners than one transaction of Kafka takes."""
    count = 1100
    insert(environment.dsn, [row for number in range(count) for row in acquired(1, UUID(int=number + 1))])
    environment.variables["RAGLEDGER_RETENTION__BATCH_ROWS"] = "1000"
    assert environment.run_json("retention", "run")["published"] == count
    notices = published(environment)
    assert len(notices) == count
    assert_once(notices)


async def test_an_owner_who_is_erased_before_the_notice_is_sent_is_not_named(environment: Environment) -> None:
    """The waiting notice is published without an owner."""
    insert(environment.dsn, acquired(1, ALICE))
    environment.run_json("retention", "run")
    execute(
        environment.dsn,
        "UPDATE retention_notices SET published_at = NULL, sent_from = NULL, owner = NULL,"
        " notice = notice || '{\"owner\": null}'",
    )
    async with connected(environment) as database:
        await Notices(database, kafka(environment), environment.topics["expired"]).publish(lambda *_: None)
    notices = await asyncio.to_thread(published, environment)
    assert {(notice.key, notice.body["owner"]) for notice in notices} == {
        (str(ALICE).encode(), str(ALICE)),
        (None, None),
    }


async def test_a_notice_that_another_process_finds_in_the_topic_is_counted_once(environment: Environment) -> None:
    """The other one comes between the commit of the transaction in Kafka and the mark in the database."""
    insert(environment.dsn, acquired(1, ALICE))
    environment.run_json("retention", "run")
    execute(environment.dsn, "UPDATE retention_notices SET published_at = NULL, sent_from = NULL")
    counted: list[tuple[int, int]] = []

    class Overtaken(Notices):
        async def _mark(self, ids: Any) -> int:
            if ids:
                await Notices(*arguments).publish(lambda *numbers: counted.append(numbers))
            return await super()._mark(ids)

    async with connected(environment) as database:
        arguments = database, kafka(environment), environment.topics["expired"]
        await Overtaken(*arguments).publish(lambda *numbers: counted.append(numbers))
    assert counted == [(0, 1), (0, 0)]


async def test_a_run_that_another_one_overtakes_has_not_failed(environment: Environment) -> None:
    """The other one begins to publish before the first has sent anything, and publishes the notices of both."""
    insert(environment.dsn, acquired(1, ALICE), acquired(1, BOB))
    said: list[str] = []

    class Overtaken(Notices):
        async def _send(self, topic: TransactionalTopic, notices: Any) -> int:
            await asyncio.to_thread(environment.run_json, "retention", "run")
            return await super()._send(topic, notices)

    async with connected(environment) as database:
        notices = Overtaken(database, kafka(environment), environment.topics["expired"])
        retention = Retention(Expiry(database, 30), notices)
        done = await retention.run(wait=True, on_taken_over=lambda: said.append("taken over"))
    assert (done, said) == (Done(deleted=2, archived=2, notices=2), ["taken over"])
    assert_once(await asyncio.to_thread(published, environment))
    assert environment.value("SELECT count(*) FROM retention_notices WHERE published_at IS NULL") == 0


@asynccontextmanager
async def connected(environment: Environment) -> AsyncIterator[Database]:
    """Return the client of the environment's database."""
    database = Database(Postgres(dsn=SecretStr(environment.dsn)))
    await database.open()
    try:
        yield database
    finally:
        await database.close(5)
