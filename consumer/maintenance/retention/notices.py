"""Publishes the notices. Each is in the topic exactly once, even if a process is killed.

start    begin a producer with the one transactional id: Kafka completes the transaction of any earlier producer and
         rejects its further writes
find     read the topic for notices that an earlier attempt has sent, and mark them as published
send     for the others: store the end offsets of the topic, send the notices in one Kafka transaction, mark them.
         An erased owner is removed from the notice first; a later erasure finds the stored offsets

If the process is killed before the commit, the topic holds nothing. If it is killed between the commit and the mark,
the next attempt finds the notices in the topic.
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
from consumer.settings.servers import Kafka

NOTICES_AT_A_TIME = 500
EVENT_TYPE = "rag.provenance.expired"
ID_HEADER = "ce_id"


class Notices:
    """Publishes the notices of one database to one topic.

    :param keys: the erasure keys, which identify erased users
    """

    def __init__(self, database: Database, kafka: Kafka, topic: str, keys: Sequence[Key] = ()) -> None:
        self._database, self._kafka, self._topic = database, kafka, topic
        self._erasures = Erasures(keys)

    async def demand_topic(self) -> None:
        """Create the topic if it is missing.

        :raises OperationError: the topic is missing and Kafka does not allow us to create it
        :raises SourceError: Kafka does not answer
        """
        found = await read_bounds(self._kafka, [self._topic])
        if found or found.unanswered:
            return
        try:
            await create_topics(self._kafka, [self._topic], AS_THE_BROKER_HAS_IT, AS_THE_BROKER_HAS_IT)
        except SourceError as error:
            raise OperationError(
                f"the topic {self._topic} for the notices is missing and cannot be created, so no provenance was"
                f" deleted: create it, or name another one with RAGLEDGER_TOPICS__EXPIRED ({error})"
            ) from error

    async def forget_attempts(self) -> None:
        """Publish all waiting notices again, without checking the topic. A person decides this if no check
        is possible.
        """
        async with self._database.transaction() as transaction:
            await transaction.execute(load("retention_publish_again"))

    async def waiting(self) -> int:
        """Return how many notices are not marked as published."""
        async with self._database.transaction() as transaction:
            return int((await transaction.fetch(load("retention_count_waiting")))[0]["waiting"])

    async def publish(self, on_progress: Callable[[int, int], None]) -> None:
        """Publish every waiting notice.

        :param on_progress: called after each step with the number of notices that were published now, and the number of
            notices that were found in the topic. If two processes run at once, only the process that marks a notice
            counts it
        :raises OperationError: the topic no longer shows whether an earlier attempt succeeded
        :raises TakenOver: another process has taken over; it also publishes the notices that wait
        :raises SourceError: Kafka is unavailable
        :raises Unavailable: users were erased with an erasure key that is not set here
        """
        if not await self.waiting():
            return
        async with TransactionalTopic(self._kafka, self._topic, f"{self._kafka.group_id}-retention") as topic:
            while notices := await self._next():
                attempted = [notice for notice in notices if notice["sent_from"]]
                found = await self._find_published(topic, attempted)
                marked = await self._mark(found)
                left = [notice for notice in notices if notice["id"] not in found]
                on_progress(await self._send(topic, left), marked)

    async def _next(self) -> Sequence[Any]:
        async with self._database.transaction() as transaction:
            return await transaction.fetch(load("retention_waiting"), NOTICES_AT_A_TIME)

    async def _find_published(self, topic: TransactionalTopic, attempted: Sequence[Any]) -> set[UUID]:
        """Return the ids of those notices that are in the topic they were sent to."""
        wanted = {str(notice["id"]).encode(): notice["id"] for notice in attempted}
        found: set[UUID] = set()
        for name, ends in _earliest(attempted).items():
            try:
                there = await topic.values_since(name, ends, ID_HEADER)
            except Vanished as vanished:
                raise OperationError(_CANNOT_TELL.format(count=len(wanted), why=vanished)) from None
            found |= {wanted[value] for value in there & wanted.keys()}
        return found

    async def _send(self, topic: TransactionalTopic, notices: Sequence[Any]) -> int:
        if not notices:
            return 0
        ids = [notice["id"] for notice in notices]
        sent_from = {self._topic: await topic.ends()}
        async with self._database.transaction() as transaction:
            notices = await self._remove_erased_owners(transaction, notices)
            await transaction.execute(load("retention_attempt"), ids, msgspec.json.encode(sent_from).decode())
        await topic.write([self._message(notice) for notice in notices])
        return await self._mark(ids)

    async def _remove_erased_owners(self, transaction: Transaction, notices: Sequence[Any]) -> Sequence[Any]:
        """Return the notices; the owner is removed if the user has been erased."""
        erased = await self._erasures.hold_newest(transaction)
        gone = [one["id"] for one in notices if one["owner"] is not None and erased.has(one["owner"].bytes)]
        if not gone:
            return notices
        unnamed = {one["id"]: one for one in await transaction.fetch(load("retention_unname"), gone)}
        return [unnamed.get(one["id"], one) for one in notices]

    async def _mark(self, ids: Sequence[UUID] | set[UUID]) -> int:
        """Mark the notices as published. Return how many were not marked yet."""
        if not ids:
            return 0
        async with self._database.transaction() as transaction:
            return len(await transaction.fetch(load("retention_published"), list(ids)))

    def _message(self, notice: Any) -> Message:
        """Return the notice as a CloudEvent in binary mode. The key puts all notices of one owner into one
        partition.
        """
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
    """Return the lowest end offsets stored with these notices, for each topic.

    A partition that one of the attempts did not list is left out: it has to be read from its beginning.
    """
    earliest: dict[str, dict[int, int]] = {}
    for notice in attempted:
        for topic, ends in msgspec.json.decode(notice["sent_from"], type=dict[str, dict[int, int]]).items():
            before = earliest.get(topic, ends)
            earliest[topic] = {number: min(ends[number], before[number]) for number in ends.keys() & before.keys()}
    return earliest


_CANNOT_TELL = (
    "{count} notices were sent by an attempt that did not finish, and the topic does not show whether they arrived:"
    " {why}. Compare their notice_id with the notices that the consumers of the topic have;"
    " `ragledger retention run --publish-again` sends them again with the same ids"
)
