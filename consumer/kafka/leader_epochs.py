"""Sends the request OffsetForLeaderEpoch (KIP-320), which aiokafka lacks, to find out whether a log was truncated.

A truncated log may have grown again, and then its offsets do not show the truncation. Each leader writes under its own
epoch, and records the end offset of each epoch. If the epoch under which records were read ends before the position of
the consumer, the log no longer contains those records. Consumers may send the request since Kafka 2.3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, NoError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

from consumer.events.record import Partition
from consumer.ingest.ports import Answers, EpochQuestion
from consumer.kafka.leaders import ask_leaders, by_topic, refusal

_API = 23
_TEXT = String("utf-8")
_CONSUMER = -1


async def epoch_ends(client: Any, questions: Mapping[Partition, EpochQuestion]) -> Answers[int | None]:
    """Return, for each partition, the end offset of the records written under this epoch and earlier ones.

    :param client: an aiokafka client that has found the brokers
    :returns: None for a partition whose leader records no epochs, or is too old for the request
    """

    async def ask(leader: int, led: Collection[Partition]) -> Answers[int | None]:
        try:
            response = await client.send(leader, _EpochsRequest({partition: questions[partition] for partition in led}))
        except (IncompatibleBrokerVersion, NotImplementedError):
            return Answers(dict.fromkeys(led))
        return _ends(leader, response)

    return await ask_leaders(client, questions.keys(), ask)


def _ends(leader: int, response: Any) -> Answers[int | None]:
    found: dict[Partition, int | None] = {}
    unanswered: dict[Partition, str] = {}
    for topic, answers in response.topics:
        for code, number, _leader_epoch, end in answers:
            if code == NoError.errno:
                found[Partition(topic, number)] = end if end >= 0 else None
            else:
                unanswered[Partition(topic, number)] = refusal(leader, code)
    return Answers(found, unanswered)


class _EpochsResponse3(Response):  # type: ignore[misc]
    API_KEY = _API
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", _TEXT),
                (
                    "partitions",
                    Array(("error_code", Int16), ("partition", Int32), ("leader_epoch", Int32), ("end_offset", Int64)),
                ),
            ),
        ),
    )


class _EpochsRequest3(RequestStruct):  # type: ignore[misc]
    API_KEY = _API
    API_VERSION = 3
    RESPONSE_TYPE = _EpochsResponse3
    SCHEMA = Schema(
        ("replica_id", Int32),
        (
            "topics",
            Array(
                ("topic", _TEXT),
                ("partitions", Array(("partition", Int32), ("current_leader_epoch", Int32), ("leader_epoch", Int32))),
            ),
        ),
    )


class _EpochsRequest(Request[_EpochsRequest3]):  # type: ignore[misc]
    API_KEY = _API

    def __init__(self, questions: Mapping[Partition, EpochQuestion]) -> None:
        self._topics = by_topic(questions)

    def build(self, request_struct_class: type[_EpochsRequest3]) -> _EpochsRequest3:
        topics = [
            (topic, [(number, question.asked_of, question.leader_epoch) for number, question in asked])
            for topic, asked in self._topics
        ]
        return request_struct_class(_CONSUMER, topics)
