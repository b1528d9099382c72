"""The buffer between the application and Kafka, and the thread that empties it.

The application's threads only append copies of events. The sender's thread checks, encodes and sends them.

The application's threads hold a lock that the sender's thread never takes, because a signal handler may interrupt an
append and wait for the sender. So each counter is written by one side only. The states of an event::

    recorded ──► waiting ──► delivered
        │           │
        └───────────┴──────► dropped, with a cause
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ragledger_client._checks import Invalid
from ragledger_client._events import Encoded, Recorded

log = logging.getLogger("ragledger_client")

_BUSY_S, _IDLE_S = 0.05, 1.0  # between two polls of librdkafka
_FLUSH_POLL_S = 0.01
# The sender sleeps for this time after each event. A sleeping thread gives up Python's lock at once. Otherwise the
# application's threads would wait up to 5 ms for the lock during a burst of events.
_YIELD_S = 0.0001
_RETRY_S, _PAUSE_S = 2.0, 5.0
_MOST_CAUSES = 200
_DEFAULTS: Mapping[str, Any] = {
    "client.id": "ragledger-client",
    "compression.type": "lz4",
    # The partitioner of Java. So all events of one session are in one partition, whichever language published them.
    "partitioner": "murmur2_random",
    "message.timeout.ms": 0,  # none, because the buffer limits the wait
    "reconnect.backoff.max.ms": 2000,
    "socket.keepalive.enable": True,
    "log_level": 2,  # librdkafka logs each attempt to connect; an outage is reported once here
}
_FIXED: Mapping[str, Any] = {"enable.idempotence": True, "acks": "all"}
_CLOSED = "the ledger is closed"
_FULL = "the buffer is full: Kafka takes events more slowly than they are recorded, or not at all"
_UNREACHABLE = "Kafka is unreachable; events wait in the buffer"
# A wrong event also gets this cause if the sender did not check it before the close.
_GIVEN_UP = "not acknowledged by Kafka before the ledger was closed"
# Errors that a person can fix: a topic or a right is missing. Until then events wait, as in an outage.
_TEMPORARY: Mapping[int, str] = {
    KafkaError._UNKNOWN_TOPIC: "the topic does not exist",
    KafkaError._UNKNOWN_PARTITION: "the topic does not exist",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "the topic does not exist",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right to write to the topic is missing",
}
# Held while a producer is created and during a fork. Otherwise librdkafka's own locks could stay locked in the child.
CREATING = threading.Lock()


class Stats(NamedTuple):
    """The books of this process: ``recorded == delivered + waiting + sum(dropped.values())``.

    :param recorded: events from the application, including wrong ones
    :param delivered: events that Kafka has acknowledged
    :param waiting: events in the buffer, checked or not, sent or not, that are neither delivered nor dropped
    :param waiting_bytes: the approximate memory of these events
    :param dropped: the number of events that will not reach Kafka, by cause. A thread of the ledger checks events, so a
        wrong event waits for a moment before it is dropped
    """

    recorded: int
    delivered: int
    waiting: int
    waiting_bytes: int
    dropped: Mapping[str, int]


class Sender:
    """A bounded buffer, and a thread that starts with the first event of each process."""

    def __init__(
        self,
        config: Mapping[str, Any],
        encode: Callable[[Recorded], Encoded],
        max_events: int,
        max_bytes: int,
        on_problem: Callable[[str], object] | None,
    ) -> None:
        """Check the configuration.

        :param encode: makes the record of an event, or raises `Invalid`; called by the sender's thread
        :raises ValueError: librdkafka rejects it
        """
        for name, value in _FIXED.items():
            if config.get(name, value) != value:
                raise ValueError(f"config: {name} has to be {value!r}, or events could be lost or duplicated")
        room = {"queue.buffering.max.messages": max_events, "queue.buffering.max.kbytes": 2**31 - 1}
        callbacks = {"on_delivery": self._on_delivery, "error_cb": self._on_error}
        self._config = {**_DEFAULTS, **config, **_FIXED, **room, **callbacks}
        self._encode = encode
        self._max_events, self._max_bytes = max_events, max_bytes
        self._on_problem = on_problem or log.warning
        self._is_closed = False
        self._begin()
        try:
            with CREATING:
                Producer(self._config)  # freed at once, because librdkafka should not run before a fork
        except KafkaException as error:
            raise ValueError(f"config: {error.args[0].str()}") from None

    def _begin(self) -> None:
        """Reset all state, as in a new process."""
        self._lock = threading.RLock()  # a signal handler of the application may also record an event
        self._queue: SimpleQueue[Recorded | Encoded | str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._producer: Producer | None = None
        self._is_fatal = self._is_flushing = False
        self._reported: set[str] = set()
        self._refused_for_now: list[Encoded] = []
        self._retry_at = 0.0
        # Written by the application's threads:
        self._recorded = self._admitted = self._bytes_in = 0
        self._refused: Counter[str] = Counter()
        # Written by the sender's thread:
        self._delivered = self._settled = self._bytes_out = 0
        self._lost: Counter[str] = Counter()

    # ── the application's threads ────────────────────────────────────────────────────────────────────────────────────

    def put(self, recorded: Recorded) -> None:
        """Append an event, or count it as dropped if there is no room."""
        with self._lock:
            if self._is_closed:
                self.refuse(_CLOSED)
            elif self._waiting >= self._max_events or self._waiting_bytes + recorded.size > self._max_bytes:
                self.refuse(_FULL)
            else:
                self._recorded += 1
                self._admitted += 1
                self._bytes_in += recorded.size
                self._put(recorded)

    def refuse(self, cause: str) -> None:
        """Count an event that cannot be sent."""
        with self._lock:
            cause = _limited(self._refused, cause)
            self._recorded += 1
            self._refused[cause] += 1
            if self._refused[cause] == 1:
                self._put(f"dropped: {cause}")

    def _put(self, one: Recorded | str) -> None:
        if self._is_closed and isinstance(one, str):
            self._report(one)  # no thread is left to do it
            return
        self._queue.put(one)
        if not self._is_running:
            self._thread = threading.Thread(target=self._run, name="ragledger-client", daemon=True)
            with suppress(RuntimeError):  # Python starts no thread while it shuts down
                self._thread.start()

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def _waiting(self) -> int:
        return self._admitted - self._settled

    @property
    def _waiting_bytes(self) -> int:
        return self._bytes_in - self._bytes_out

    def stats(self) -> Stats:
        """Counts since the process began, or was forked."""
        with self._lock:
            delivered, lost = self._delivered, Counter(dict(self._lost))
            waiting = self._admitted - delivered - sum(lost.values())
            return Stats(self._recorded, delivered, waiting, max(self._waiting_bytes, 0), dict(self._refused + lost))

    def flush(self, timeout: float) -> bool:
        """Wait until no event waits, for at most `timeout` seconds. Return whether no event waits."""
        deadline = time.monotonic() + timeout
        self._is_flushing = True
        while self._waiting > 0 and time.monotonic() < deadline:
            time.sleep(_FLUSH_POLL_S)
        self._is_flushing = False
        return self._waiting <= 0

    def close(self, timeout: float) -> None:
        """Flush, then drop the events that Kafka has not acknowledged, or that the sender's thread has not checked."""
        self.flush(timeout)
        with self._lock:
            self._is_closed = True
        if self._thread is not None and self._is_running:
            self._queue.put(None)
            self._thread.join(2 * _PAUSE_S)
        else:
            self._end(None)

    def after_fork(self) -> None:
        """In a child process, drop the state of the parent. The parent sends its own events.

        The parent's producer has no threads in the child, and destroying it would wait for them without end. So it is
        never freed.
        """
        if self._producer is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))
        self._begin()

    # ── the sender's thread ──────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        producer: Producer | None = None
        while True:
            try:
                producer = self._producer = producer or self._new_producer()
                if (one := self._next()) is None:
                    break
                self._do(producer, one)
            except KafkaException as error:
                self._is_fatal = True
                self._report(f"Kafka: {error.args[0].name()}; events wait in the buffer")
            except Exception as error:  # noqa: BLE001 - the application needs this thread
                self._report(f"the sender has failed: {type(error).__name__}")
            if self._is_fatal:
                self._give_up(producer)
                producer = None
        self._end(producer)

    def _do(self, producer: Producer, one: Recorded | Encoded | str) -> None:
        if isinstance(one, str):
            self._report(one)
        else:
            self._send(producer, one)
            if not self._is_flushing:
                time.sleep(_YIELD_S)
        producer.poll(0)
        if self._refused_for_now and time.monotonic() >= self._retry_at:
            refused, self._refused_for_now = self._refused_for_now, []
            for record in refused:
                self._queue.put(record)

    def _new_producer(self) -> Producer:
        with CREATING:
            return Producer(self._config)

    def _next(self) -> Recorded | Encoded | str | None:
        try:
            return self._queue.get(timeout=_BUSY_S if self._waiting else _IDLE_S)
        except Empty:
            return ""

    def _send(self, producer: Producer, one: Recorded | Encoded) -> None:
        record = self._encoded(one) if isinstance(one, Recorded) else one
        if record is None:
            return
        try:
            producer.produce(record.topic, record.value, record.key)
        except KafkaException as error:
            self._settle_failed(record, error.args[0])
        except BufferError:  # only until librdkafka reports its deliveries
            producer.poll(_BUSY_S)
            self._queue.put(record)

    def _encoded(self, recorded: Recorded) -> Encoded | None:
        try:
            record = self._encode(recorded)
        except Invalid as invalid:
            problem = str(invalid)
        except BaseException as error:  # noqa: BLE001 - values have methods of the application; this thread must not end
            problem = f"{type(error).__name__} while it was checked"
        else:
            self._bytes_out += recorded.size - len(record.value)  # from here on the size is known
            return record
        self._lose(_limited(self._lost, f"{recorded.declaration.kind}: {problem}"), recorded.size)
        return None

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._delivered += 1
            self._settled += 1
            self._bytes_out += len(message)
            self._reported.discard(_UNREACHABLE)
        else:
            key, value = message.key() or b"", message.value() or b""
            self._settle_failed(Encoded(str(message.topic()), key.decode(), value), error)

    def _settle_failed(self, record: Encoded, error: KafkaError) -> None:
        """Drop the record, or keep it for later. Its id makes it harmless to send it again."""
        self._is_fatal |= error.fatal() or error.code() == KafkaError._FATAL
        temporary = _TEMPORARY.get(error.code())
        if (self._is_fatal or temporary) and not self._is_closed:
            self._retry_at = self._retry_at if self._refused_for_now else time.monotonic() + _RETRY_S
            self._refused_for_now.append(record)
            self._report(f"{record.topic}: {temporary}; events wait in the buffer" if temporary else "")
        elif error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            self._lose(_GIVEN_UP, len(record.value))
        else:
            self._lose(f"{record.topic}: Kafka refuses it: {error.name()}", len(record.value))

    def _lose(self, cause: str, size: int) -> None:
        self._lost[cause] += 1
        self._settled += 1
        self._bytes_out += size
        if cause is not _GIVEN_UP:
            self._report(f"dropped: {cause}")

    def _on_error(self, error: KafkaError) -> None:
        """Handle an error that librdkafka reports."""
        self._is_fatal |= error.fatal()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._report(_UNREACHABLE)
        elif error.code() != KafkaError._TRANSPORT:
            self._report(f"Kafka: {error.name()}")

    def _report(self, problem: str) -> None:
        """Report a problem for the first time."""
        if problem and problem not in self._reported:
            self._reported.add(problem)
            try:
                self._on_problem(problem)
            except Exception:
                log.exception("on_problem has failed")

    def _give_up(self, producer: Producer | None) -> None:
        """Take back the events of a producer that will never send again. Pause before a new producer is created."""
        self._purge(producer)
        time.sleep(_PAUSE_S)
        self._is_fatal = False

    def _purge(self, producer: Producer | None) -> None:
        if producer is None:
            return
        producer.purge()
        deadline = time.monotonic() + 1
        while len(producer) and time.monotonic() < deadline:
            with suppress(KafkaException):
                producer.poll(_BUSY_S)

    def _end(self, producer: Producer | None) -> None:
        """Drop the events that are not acknowledged."""
        self._purge(producer)
        for record in self._refused_for_now:
            self._lose(_GIVEN_UP, len(record.value))
        with suppress(Empty):
            while True:
                if isinstance(one := self._queue.get_nowait(), (Recorded, Encoded)):
                    self._lose(_GIVEN_UP, one.size if isinstance(one, Recorded) else len(one.value))
        if self._lost[_GIVEN_UP]:
            self._report(f"dropped: {self._lost[_GIVEN_UP]} events {_GIVEN_UP}")
        self._refused_for_now, self._producer = [], None


def _limited(counts: Mapping[str, int], cause: str) -> str:
    """The cause, or "other causes" if there are too many: causes name unknown fields, so their number has no limit."""
    return cause if cause in counts or len(counts) < _MOST_CAUSES else "other causes"
