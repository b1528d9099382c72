"""aiokafka's connections under uvloop: one that is gone is an error that aiokafka knows.

A peer's reset closes uvloop's transport at once, and aiokafka hears of it some turns of the loop later. Sending in
between is a RuntimeError under uvloop, where asyncio's own loop would drop the bytes. aiokafka expects OSError alone:
any other error ends its task that fetches, beats or asks for metadata, in silence and for good.
"""

from __future__ import annotations

from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that is broken once its transport is closed."""

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; what can be awaited for its answer.

        :raises KafkaConnectionError: the connection is gone
        """
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            if not self._writer.is_closing():
                raise
            self.close(CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def mend_connections() -> None:
    """Have every client of this process make such connections; aiokafka has no setting for their class."""
    conn.AIOKafkaConnection = Connection
