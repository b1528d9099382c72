"""Tests requests to leaders: a leader that does not answer affects only its own partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NodeNotReadyError
from aiokafka.protocol.types import Int16, Int32, Int64

from consumer.events.record import Partition
from consumer.ingest.ports import Bounds, EpochQuestion
from consumer.kafka.leader_epochs import epoch_ends
from consumer.kafka.leaders import LEADER_SECONDS, METADATA_SECONDS, bounds_of
from consumer.kafka.topic_ids import ANSWER_SECONDS, topics_named
from tests.support.world import A, B, C

NEWEST = {2: (1, 11), 3: (0, 13), 23: (2, 4)}
OFFSETS = {-1: 100, -2: 7}


class FakeCluster:
    """The leaders of partitions."""

    def __init__(self, leaders: Mapping[Partition, int]) -> None:
        self.leaders = dict(leaders)

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.leaders.get(Partition(*partition))

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {one.partition for one in self.leaders if one.topic == topic} or None

    def brokers(self) -> list[Any]:
        numbers = {leader for leader in self.leaders.values() if leader >= 0}
        return [type("Broker", (), {"nodeId": number}) for number in sorted(numbers)]


class FakeClient:
    """Brokers that answer with the bytes of the protocol, unless a test makes them fail.

    `codes` are error codes by partition, `epochs` the ends of epochs; `moves` is what new metadata says.
    """

    def __init__(self, leaders: Mapping[Partition, int], versions: Mapping[int, tuple[int, int]] = NEWEST) -> None:
        self.cluster, self.versions = FakeCluster(leaders), dict(versions)
        self.errors: dict[int, KafkaError] = {}
        self.frozen: set[int] = set()
        self.codes: dict[Partition, int] = {}
        self.epochs: dict[int, int] = {}
        self.moves: dict[Partition, int] = {}
        self.asked: list[int] = []

    def add_topic(self, topic: str) -> None:
        return

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.cluster.leaders |= self.moves
        done = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def send(self, broker: int, request: Any) -> Any:
        self.asked.append(broker)
        if broker in self.frozen:
            await asyncio.Event().wait()
        if broker in self.errors:
            raise self.errors[broker]
        struct = request.prepare(self.versions)
        if struct.API_KEY == 3:
            return type("Named", (), {"API_VERSION": 10, "topics": []})
        sent = type(struct).decode(struct.encode())
        return struct.RESPONSE_TYPE.decode(self._answer(struct, sent))

    def _answer(self, struct: Any, sent: Any) -> bytes:
        raw: bytes = Int32.encode(0) + Int32.encode(len(sent.topics))
        for topic, asked in sent.topics:
            raw += Int16.encode(len(topic)) + topic.encode() + Int32.encode(len(asked))
            for number, *rest in asked:
                code = Int16.encode(self.codes.get(Partition(topic, number), 0))
                raw += (
                    self._ends(number, code, rest) if struct.API_KEY == 23 else self._offset(struct, number, code, rest)
                )
        return raw

    def _offset(self, struct: Any, number: int, code: bytes, rest: list[int]) -> bytes:
        raw: bytes = Int32.encode(number) + code + Int64.encode(-1) + Int64.encode(OFFSETS[rest[-1]])
        return raw + Int32.encode(5) if struct.API_VERSION == 4 else raw

    def _ends(self, number: int, code: bytes, rest: list[int]) -> bytes:
        current, epoch = rest
        assert current == 5
        raw: bytes = code + Int32.encode(number) + Int32.encode(epoch) + Int64.encode(self.epochs.get(epoch, -1))
        return raw


HELD = Bounds(7, 100, None, 0, 5)


async def test_each_leader_answers_for_its_own_partitions() -> None:
    """The answer has the bounds and the leader epoch. Brokers before Kafka 2.1 return no epoch."""
    assert await bounds_of(FakeClient({A: 1, B: 2, C: 1}), [A, B, C]) == {A: HELD, B: HELD, C: HELD}
    old = FakeClient({A: 1}, {**NEWEST, 2: (0, 3)})
    assert await bounds_of(old, [A]) == {A: Bounds(7, 100)}


@pytest.mark.parametrize(
    ("leader", "why"),
    [
        (-1, "it has no leader"),
        (None, "the brokers do not list it"),
        (3, "broker 3, its leader, has not answered for 5 s"),
        (4, "broker 4, its leader, does not answer: NodeNotReadyError"),
    ],
)
async def test_a_leader_that_does_not_answer_affects_only_its_own_partitions(leader: int | None, why: str) -> None:
    """Partitions without an answer are reported; the others have bounds within seconds."""
    client = FakeClient({A: 1, C: 1} | ({} if leader is None else {B: leader}))
    client.frozen, client.errors = {3}, {4: NodeNotReadyError()}
    began = asyncio.get_running_loop().time()
    found = await bounds_of(client, [A, B, C])
    assert found == {A: HELD, C: HELD}
    assert [said.startswith(why) for said in found.unanswered.values()] == [True]
    assert found.unanswered.keys() == {B}
    assert asyncio.get_running_loop().time() - began <= LEADER_SECONDS + METADATA_SECONDS


@pytest.mark.parametrize("code", [3, 5, 6, 29, 74, 75, 78, 9999])
async def test_an_answer_with_an_error_counts_as_no_answer(code: int) -> None:
    """The error concerns one of several partitions of a leader."""
    client = FakeClient({A: 1, B: 1})
    client.codes = {B: code}
    assert (await bounds_of(client, [A, B])).keys() == {A}
    client.epochs = {4: 80}
    found = await epoch_ends(client, {A: EpochQuestion(4, 5), B: EpochQuestion(4, 5)})
    assert found == {A: 80}
    assert found.unanswered.keys() == {B}


async def test_if_the_leader_has_changed_the_new_one_is_asked() -> None:
    """The new leader is asked in the same call."""
    client = FakeClient({A: 1, B: 4})
    client.errors, client.moves = {4: NodeNotReadyError()}, {B: 2}
    assert await bounds_of(client, [A, B]) == {A: HELD, B: HELD}


async def test_where_epochs_end() -> None:
    """The end is the leader's answer; None if the leader records no epochs or is too old."""
    client = FakeClient({A: 1, B: 2})
    client.epochs = {4: 80, 5: 0}
    assert await epoch_ends(client, {A: EpochQuestion(4, 5), B: EpochQuestion(5, 5)}) == {A: 80, B: 0}
    assert await epoch_ends(client, {A: EpochQuestion(3, 5)}) == {A: None}
    client.versions[23] = (0, 2)
    assert await epoch_ends(client, {A: EpochQuestion(4, 5)}) == {A: None}
    del client.versions[23]
    assert await epoch_ends(client, {A: EpochQuestion(4, 5)}) == {A: None}


async def test_brokers_that_do_not_support_transactions_are_refused() -> None:
    """With such brokers, committed and uncommitted records could not be distinguished."""
    with pytest.raises(IncompatibleBrokerVersion):
        await bounds_of(FakeClient({A: 1}, {3: (0, 13)}), [A])


async def test_a_frozen_broker_does_not_delay_a_request_that_any_broker_can_answer() -> None:
    """The next broker is asked a moment later. If none answers, the call raises an error."""
    loop = asyncio.get_running_loop()
    for frozen in (1, 2):
        client = FakeClient({A: 1, B: 2})
        client.frozen, began = {frozen}, loop.time()
        assert await topics_named(client, ["t"]) == {}
        assert loop.time() - began <= 2
    client.frozen, began = {1, 2}, loop.time()
    with pytest.raises(KafkaError, match="has not answered"):
        await topics_named(client, ["t"])
    assert loop.time() - began <= ANSWER_SECONDS + 2
