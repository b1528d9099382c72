"""Producers that record which records the brokers have acknowledged, also during faults."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from confluent_kafka import KafkaException, Producer

from tests.support.bad_records import BY_RULE
from tests.support.ingestion import as_json, small_dialogue
from tests.support.producers import bad_value, provenance, random_uuid

DAYS = ("2026-02-03T14:59:59.999999Z", "2026-02-03T15:00:00Z", "2026-02-04T09:00:00+09:00", "2026-02-05T12:00:00Z")
# Retries without a limit: a real producer does not give up in an outage, and does not log each attempt.
PATIENT = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "message.timeout.ms": 600_000,
    "retry.backoff.max.ms": 500,
    "log_level": 2,
}


class Mix(NamedTuple):
    """Shares: bad records, those of them that the database rejects, records sent again, aborted transactions."""

    bad: float = 0.02
    refused: float = 0.1
    again: float = 0.03
    aborted: float = 0.3


STEADY = Mix()


class Sent(NamedTuple):
    """A record as its producer knows it. Its key identifies it, even if the record is bad."""

    kind: str
    key: bytes

    @property
    def is_bad(self) -> bool:
        """Whether it cannot become a row."""
        return self.key.startswith(b"bad ")

    @property
    def id(self) -> UUID:
        """Id of the event."""
        return UUID(self.key.decode())


class Outgoing(NamedTuple):
    """A record that is being sent."""

    sent: Sent
    value: bytes | None


class Maker:
    """Makes records: new ones, some that were sent before, some bad ones."""

    def __init__(self, chance: random.Random, mix: Mix = STEADY) -> None:
        self._chance, self._mix = chance, mix
        self._before: list[Outgoing] = []

    def next(self) -> Outgoing:
        """Return one record."""
        dice = self._chance.random()
        if dice < self._mix.bad:
            return self._bad_one()
        if dice < self._mix.bad + self._mix.again and self._before:
            return self._chance.choice(self._before)
        return self._new_one()

    def _new_one(self) -> Outgoing:
        kind = self._chance.choice(("dialogue", "dialogue", "provenance"))
        event = self._event(kind)
        made = Outgoing(Sent(kind, event["id"].encode()), as_json(event))
        self._before = [*self._before[-20:], made]
        return made

    def _event(self, kind: str, **changes: Any) -> dict[str, Any]:
        if kind == "provenance":
            return provenance(self._chance, **changes)
        return small_dialogue(self._chance, created_at=self._chance.choice(DAYS), **changes)

    def _bad_one(self) -> Outgoing:
        name = f"bad {random_uuid(self._chance)}".encode()
        if self._chance.random() < self._mix.refused:
            return Outgoing(Sent("dialogue", name), as_json(self._event("dialogue", query=BY_RULE)))
        return Outgoing(Sent(self._chance.choice(("dialogue", "provenance")), name), bad_value(self._chance))


class Traffic:
    """A steady stream from two producers, one of them with transactions; a context manager that ends it."""

    def __init__(
        self, bootstrap_servers: str, topics: Mapping[str, str], seed: int, rate: float, mix: Mix = STEADY
    ) -> None:
        """Set up the producers. `rate` is in records a second in total."""
        self._bootstrap_servers, self._topics = bootstrap_servers, topics
        self._seed, self._rate, self._mix = seed, rate, mix
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.acknowledged: Counter[Sent] = Counter()
        self.in_doubt: Counter[Sent] = Counter()

    @property
    def count(self) -> int:
        """Number of acknowledged records so far."""
        with self._lock:
            return self.acknowledged.total()

    @property
    def rate(self) -> float:
        """Intended number of records a second."""
        return self._rate

    def start(self) -> None:
        """Begin."""
        for work in (self._send_plain, self._send_transactions):
            thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End, and wait until everything sent is acknowledged.

        Raises:
            AssertionError: a producer has failed or does not end.
        """
        self._ending.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a producer still waits for the brokers"
        assert not self._failures, self._failures

    def send(self, records: Iterable[Outgoing], **options: Any) -> None:
        """Send some more, in order, and wait until they are acknowledged.

        Raises:
            AssertionError: a record was not acknowledged.
        """
        producer = Producer({"bootstrap.servers": self._bootstrap_servers, **PATIENT, **options})
        for record in records:
            self._produce(producer, record, self._on_delivery(record.sent))
        assert producer.flush(120) == 0

    def leave_open(self, records: Iterable[Outgoing], seconds: float) -> Any:
        """Send some records in a transaction that no client ends; the broker ends it after so many seconds.

        Return the object that must be kept until then.
        """
        sent = list(records)
        name = {"bootstrap.servers": self._bootstrap_servers, "transactional.id": f"left {sent[0].sent.key!r}"}
        milliseconds = {"transaction.timeout.ms": int(seconds * 1000), "message.timeout.ms": int(seconds * 500)}
        producer = Producer({**PATIENT, **name, **milliseconds})
        producer.init_transactions(30)
        producer.begin_transaction()
        for record in sent:
            self._produce(producer, record, None)
        assert producer.flush(30) == 0
        return producer

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by stop(), in the thread of the test
            self._failures.append(error)

    def _send_plain(self) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap_servers, **PATIENT})
        maker, pace = Maker(random.Random(f"{self._seed} plain"), self._mix), Pace(self._rate / 2)
        while not self._ending.is_set():
            record = maker.next()
            self._produce(producer, record, self._on_delivery(record.sent))
            pace.wait(producer)
        assert producer.flush(120) == 0

    def _on_delivery(self, sent: Sent) -> Callable[[Any, Any], None]:
        def delivered(error: Any, _message: Any) -> None:
            with self._lock:
                (self.in_doubt if error else self.acknowledged)[sent] += 1

        return delivered

    def _produce(self, producer: Any, record: Outgoing, on_delivery: Callable[[Any, Any], None] | None) -> None:
        while True:
            try:
                topic = self._topics[record.sent.kind]
                producer.produce(topic, record.value, record.sent.key, on_delivery=on_delivery)
            except BufferError:
                producer.poll(0.1)
            else:
                return

    # ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────

    def _send_transactions(self) -> None:
        chance = random.Random(f"{self._seed} transactions")
        maker, pace = Maker(chance, self._mix), Pace(self._rate / 2)
        while not self._ending.is_set():
            producer = self._transactional()
            while not self._ending.is_set() and self._one_transaction(producer, maker, chance, pace):
                pass

    def _transactional(self) -> Any:
        """Return a producer whose id fences the previous one, so that no transaction of that one stays open."""
        name = {"bootstrap.servers": self._bootstrap_servers, "transactional.id": f"of {self._topics['dialogue']}"}
        producer = Producer({**PATIENT, **name, "transaction.timeout.ms": 30_000, "message.timeout.ms": 25_000})
        _insist(lambda: producer.init_transactions(10))
        return producer

    def _one_transaction(self, producer: Any, maker: Maker, chance: random.Random, pace: Pace) -> bool:
        """Send one transaction. Return False if the producer can no longer be used; then its outcome is unknown."""
        records = [maker.next() for _ in range(chance.choice((1, 5, 40, 80)))]
        sent = [record.sent for record in records]
        commit = chance.random() >= self._mix.aborted
        try:
            producer.begin_transaction()
            for record in records:
                self._produce(producer, record, None)
                pace.wait(producer)
            self._end(producer, commit)
        except KafkaException:
            with self._lock:
                self.in_doubt.update(sent)
            return False
        if commit:
            with self._lock:
                self.acknowledged.update(sent)
        return True

    def _end(self, producer: Any, commit: bool) -> None:
        """End a transaction. Records that are aborted are sent first, so that consumers have to skip them."""
        producer.flush(25)
        end = producer.commit_transaction if commit else producer.abort_transaction
        _insist(lambda: end(10))


def _insist(call: Callable[[], None]) -> None:
    """Repeat a call as long as the client reports that a retry may help."""
    while True:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise


class Pace:
    """Keeps a rate, without sending faster after a delay."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()

    def wait(self, producer: Any) -> None:
        """Serve the producer until the next record is due."""
        self._next = max(self._next + self._interval, time.monotonic() - 0.5)
        producer.poll(0)
        while (left := self._next - time.monotonic()) > 0:
            producer.poll(left)
