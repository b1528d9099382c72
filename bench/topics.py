"""Creates the topics, and fills them before the measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.errors import BenchError

PARTITIONS = 4
TIMEOUT_S = 60.0
# The compression that `ragledger publish` uses.
COMPRESSION = "zstd"


def create(bootstrap_servers: str, names: Collection[str]) -> None:
    """Create topics without a retention limit.

    :raises BenchError: Kafka does not create them
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    wanted = [NewTopic(name, num_partitions=PARTITIONS, config={"retention.ms": "-1"}) for name in names]
    try:
        for future in admin.create_topics(wanted).values():
            future.result(TIMEOUT_S)
    except KafkaException as error:
        raise BenchError(f"Kafka did not create the topics: {error}. See the log of Kafka, or try again.") from error


class Filler:
    """Publishes events round robin over the partitions of a topic, so that the last event of each is known."""

    def __init__(self, bootstrap_servers: str, linger_ms: int = 20) -> None:
        self._failures: list[str] = []
        self._counts: dict[str, int] = defaultdict(int)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "compression.type": COMPRESSION,
                "linger.ms": linger_ms,
                "enable.idempotence": True,
                "log_level": 3,
                "on_delivery": self._on_delivery,
            }
        )

    def _on_delivery(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failures.append(str(error))

    def publish(self, topic: str, value: bytes, timestamp_ms: int = 0) -> None:
        """Queue one record. If the queue is full, wait.

        :param timestamp_ms: the timestamp of the record; 0 means the current time
        """
        partition = self._counts[topic] % PARTITIONS
        self._counts[topic] += 1
        while True:
            try:
                self._producer.produce(topic, value, partition=partition, timestamp=timestamp_ms)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def close(self) -> None:
        """Wait until every record is acknowledged.

        :raises BenchError: a record was not acknowledged
        """
        left = self._producer.flush(TIMEOUT_S)
        del self._producer  # otherwise it would still try to connect after the broker has ended
        if left or self._failures:
            reason = self._failures[0] if self._failures else f"no answer within {TIMEOUT_S:.0f} s"
            raise BenchError(f"{left + len(self._failures)} events were not published: {reason}. Try fewer --events.")
