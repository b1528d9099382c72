"""Publishing the notices: each gets into the topic once, whoever is killed when.

    start    a producer under the one transactional id: Kafka commits or aborts what an earlier one had under way, and
             lets it write no more
    look     for the notices that an earlier attempt has sent; those that are in the topic are marked
    send     the others: note where the topic ends, send in one transaction of Kafka, mark. Owners who were erased
             are not named: an erasure that begins later finds the note

Killed before the commit, nothing is in the topic; killed after it and before the mark, the next one looks and finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from consumer.errors import OperationError
from consumer.ingest.erased import Key
from consumer.ingest.ports import SourceError
from consumer.kafka.tools import AS_THE_BROKER_HAS_IT, Message, create_topics, read_bounds
from consumer.kafka.transactions import Ends, TransactionalTopic, Vanished
from consumer.postgres.client import Database, Transaction
from consumer.postgres.erasures import Erasures
from consumer.postgres.queries import load
from consumer.settings.model import Kafka

NOTICES_AT_A_TIME = 500
EVENT_TYPE = "rag.provenance.expired"
ID_HEADER = "ce_id"


class Notices:
    """The notices of one database, on their way to one topic.

    :param keys: by which erased users are known
    """

    def __init__(self, database: Database, kafka: Kafka, topic: str, keys: Sequence[Key] = ()) -> None:
        self._database, self._kafka, self._topic = database, kafka, topic
        self._erasures = Erasures(keys)

    async def demand_topic(self) -> None:
        """Make sure that there is somewhere to publish to: the topic is made where there is none.

        :raises OperationError: there is no such topic, and Kafka does not let us make it
        :raises SourceError: Kafka does not answer
        """
        found = await read_bounds(self._kafka, [self._topic])
        if found or found.unanswered:
            return
        try:
            await create_topics(self._kafka, [self._topic], AS_THE_BROKER_HAS_IT, AS_THE_BROKER_HAS_IT)
        except SourceError as error:
            raise OperationError(
                f"there is no topic {self._topic} for the notices, and it cannot be made, so nothing was deleted: make"
                f" it, or name another one with RAGLEDGER_TOPICS__EXPIRED ({error})"
            ) from error

    async def forget_attempts(self) -> None:
        """Take it that no waiting notice got through: what a person decides where it cannot be told."""
        async with self._database.transaction() as transaction:
            await transaction.execute(load("retention_publish_again"))

    async def waiting(self) -> int:
        """How many notices are not known to be in the topic."""
        async with self._database.transaction() as transaction:
            return int((await transaction.fetch(load("retention_count_waiting")))[0]["waiting"])

    async def publish(self, told: Callable[[int, int], None]) -> None:
        """Publish every notice that waits.

        :param told: is given, after each step, how many it published, and how many it found in the topic
        :raises OperationError: it cannot be told what an earlier attempt got through
        :raises SourceError: Kafka cannot be used now, or another process has taken over
        :raises Unavailable: users were erased under a key that is not set here
        """
        if not await self.waiting():
            return
        async with TransactionalTopic(self._kafka, self._topic, f"{self._kafka.group_id}-retention") as topic:
            while notices := await self._next():
                attempted = [notice for notice in notices if notice["sent_from"]]
                found = await self._look(topic, attempted)
                await self._mark(found)
                left = [notice for notice in notices if notice["id"] not in found]
                await self._send(topic, left)
                told(len(left), len(found))

    async def _next(self) -> Sequence[Any]:
        async with self._database.transaction() as transaction:
            return await transaction.fetch(load("retention_waiting"), NOTICES_AT_A_TIME)

    async def _look(self, topic: TransactionalTopic, attempted: Sequence[Any]) -> set[UUID]:
        """Those of the notices that are in the topic they were sent to."""
        wanted = {str(notice["id"]).encode(): notice["id"] for notice in attempted}
        found: set[UUID] = set()
        for name, ends in _earliest(attempted).items():
            try:
                there = await topic.values_since(name, ends, ID_HEADER)
            except Vanished as vanished:
                raise OperationError(_CANNOT_TELL.format(count=len(wanted), why=vanished)) from None
            found |= {wanted[value] for value in there & wanted.keys()}
        return found

    async def _send(self, topic: TransactionalTopic, notices: Sequence[Any]) -> None:
        if not notices:
            return
        ids = [notice["id"] for notice in notices]
        sent_from = {self._topic: await topic.ends()}
        async with self._database.transaction() as transaction:
            notices = await self._unname(transaction, notices)
            await transaction.execute(load("retention_attempt"), ids, msgspec.json.encode(sent_from).decode())
        await topic.write([self._message(notice) for notice in notices])
        await self._mark(ids)

    async def _unname(self, transaction: Transaction, notices: Sequence[Any]) -> Sequence[Any]:
        """The notices, without those owners who are erased by now."""
        erased = await self._erasures.hold_newest(transaction)
        gone = [one["id"] for one in notices if one["owner"] is not None and erased.has(one["owner"].bytes)]
        if not gone:
            return notices
        unnamed = {one["id"]: one for one in await transaction.fetch(load("retention_unname"), gone)}
        return [unnamed.get(one["id"], one) for one in notices]

    async def _mark(self, ids: Sequence[UUID] | set[UUID]) -> None:
        if ids:
            async with self._database.transaction() as transaction:
                await transaction.execute(load("retention_published"), list(ids))

    def _message(self, notice: Any) -> Message:
        """The notice as a CloudEvent in binary mode; notices of one owner are in one partition."""
        attributes = {
            "ce_specversion": "1.0",
            "ce_type": EVENT_TYPE,
            "ce_source": f"/ragledger/{self._kafka.group_id}",
            ID_HEADER: str(notice["id"]),
            "content-type": "application/json",
        }
        headers = [(name, text.encode()) for name, text in attributes.items()]
        key = None if notice["owner"] is None else str(notice["owner"]).encode()
        return Message(self._topic, notice["notice"].encode(), key, headers)


def _earliest(attempted: Sequence[Any]) -> Mapping[str, Ends]:
    """For each topic that notices were sent to, where it ended before the first of them.

    A partition that one of the attempts did not know is left out: it has to be read from its beginning.
    """
    earliest: dict[str, dict[int, int]] = {}
    for notice in attempted:
        for topic, ends in msgspec.json.decode(notice["sent_from"], type=dict[str, dict[int, int]]).items():
            before = earliest.get(topic, ends)
            earliest[topic] = {number: min(ends[number], before[number]) for number in ends.keys() & before.keys()}
    return earliest


_CANNOT_TELL = (
    "{count} notices were sent by an attempt that was cut off, and it cannot be told whether they got through: {why}."
    " Compare their notice_id with what their readers have; `ragledger retention run --publish-again` sends them once"
    " more, under the same ids"
)
