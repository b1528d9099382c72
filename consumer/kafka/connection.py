"""aiokafka's connections, with three of its behaviours corrected in one place, for every client of this process.

A reset under uvloop. A peer's reset closes uvloop's transport at once, and aiokafka hears of it some turns of the loop
later. Sending in between is a RuntimeError under uvloop, where asyncio's own loop would drop the bytes. aiokafka
expects OSError alone: any other error ends its task that fetches, beats or asks for metadata, in silence and for good.

Topics that nobody asked for. aiokafka's metadata requests allow the broker to create the topics they name, and none of
its clients has a setting against it. A broker with `auto.create.topics.enable`, which is Kafka's default, would create
every topic of the settings. A topic is created by a CreateTopics request of ours or not at all.

Refused log-ins. aiokafka logs why a broker did not let it in, and raises only that no broker can be reached. The reason
is kept here, so that a wrong password is not reported as an outage.
"""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that is broken once its transport is closed, and creates no topics."""

    refusal: str = ""
    """Why a broker has refused the newest connection of this process; empty if it was not refused."""

    async def connect(self) -> Any:
        """Connect and log in.

        :raises KafkaError: the broker refuses us
        :raises OSError: it cannot be reached
        """
        Connection.refusal = ""
        try:
            return await super().connect()
        except (KafkaError, ssl.SSLError) as error:
            if not isinstance(error, KafkaConnectionError):
                Connection.refusal = f"{self.host}:{self.port} refuses the connection: {error}"
            raise

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; what can be awaited for its answer.

        :raises KafkaConnectionError: the connection is gone
        """
        if isinstance(request, MetadataRequest):
            request = MetadataRequest(request._topics, allow_auto_topic_creation=False)
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            if not self._writer.is_closing():
                raise
            self.close(CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def described(error: BaseException) -> str:
    """What has gone wrong with Kafka, with the reason why a broker has refused us, if one has."""
    return Connection.refusal or str(error) or type(error).__name__


def patch_connections() -> None:
    """Have every client of this process make such connections; aiokafka has no setting for their class."""
    conn.AIOKafkaConnection = Connection
