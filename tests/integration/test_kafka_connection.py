"""A connection to a broker that is gone a moment before it is used."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest

from consumer.adapters.kafka import client_options
from consumer.settings import Kafka

pytestmark = pytest.mark.timeout(60)


def test_a_reset_that_aiokafka_has_not_heard_of(bootstrap_servers: str) -> None:
    """Sending is an error that it can go on after, under uvloop too, and the next connection works."""
    uvloop.run(send_after_reset(bootstrap_servers))


async def send_after_reset(bootstrap_servers: str) -> None:
    """Reset the connection under the client's hands, and send."""
    client: Any = AIOKafkaConsumer(**client_options(Kafka(bootstrap_servers=bootstrap_servers)))
    await client.start()
    try:
        await client.topics()
        (connection,) = client._client._conns.values()
        connection._writer.transport.abort()
        await asyncio.sleep(0)  # the turn of the loop in which the transport is closed
        with pytest.raises(KafkaConnectionError):
            connection.send(ApiVersionRequest())
        assert not connection.connected()
        await client.topics()
    finally:
        await client.stop()
