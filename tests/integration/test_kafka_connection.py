"""Tests aiokafka with a connection that was reset just before its use, and with unexpected errors."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.admin import ApiVersionRequest

from consumer.kafka.consumer import client_options
from consumer.kafka.fetch import Fetching
from consumer.settings.servers import Kafka
from tests.support.stack import wait_for

pytestmark = pytest.mark.timeout(60)


def test_a_reset_that_aiokafka_has_not_noticed(bootstrap_servers: str) -> None:
    """Sending raises an error that can be retried, under uvloop too, and the next connection works."""
    uvloop.run(send_after_reset(bootstrap_servers))


async def send_after_reset(bootstrap_servers: str) -> None:
    """Reset the connection below the client, and send."""
    client: Any = AIOKafkaConsumer(**client_options(Kafka(bootstrap_servers=bootstrap_servers)))
    await client.start()
    try:
        await client.topics()
        (connection,) = client._client._conns.values()
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the iteration of the loop in which the transport is closed
        with pytest.raises(KafkaConnectionError):
            connection.send(ApiVersionRequest())
        assert not connection.connected()
        await client.topics()
    finally:
        await client.stop()


async def test_fetching_that_has_ended(
    bootstrap_servers: str, topic_factory: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next poll raises an error; the partition does not stay unread in silence."""
    client: Any = AIOKafkaConsumer(**client_options(Kafka(bootstrap_servers=bootstrap_servers)))
    await client.start()
    try:
        client.assign([TopicPartition(topic_factory(), 0)])
        fetching = Fetching(client)
        assert await fetching.fetch(0, 1) == {}
        monkeypatch.setattr(client._fetcher, "_get_actions_per_node", None)  # an unexpected error
        await wait_for(client._fetcher.error_future.done)
        with pytest.raises(KafkaError):
            await fetching.fetch(0, 1)
    finally:
        with suppress(KafkaError):
            await client.stop()
