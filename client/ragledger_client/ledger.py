"""The classes for applications: a ledger, and the answers that it records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ragledger_client import _fields, _lifecycle
from ragledger_client._checks import Invalid
from ragledger_client._events import Declaration, Encoded, Recorded, encode, snapshot
from ragledger_client._ids import uuid7
from ragledger_client._sender import Sender, Stats

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ragledger_client._fields import DialogueFields, ProvenanceFields

# Events with the same key are in the same partition, in their order.
_KEYS = {"dialogue": "session_id", "feedback": "dialogue_id", "provenance": "content_id"}
_MIB = 1 << 20


class Answer:
    """A question that is being answered, as the target of ``with`` or ``async with``.

    :ivar id: the id of the dialogue, to give feedback on it later
    """

    def __init__(self, ledger: Ledger, fields: Mapping[str, Any]) -> None:
        given = fields.get("id")
        self.id = _id(given)
        self._ledger = ledger
        self._fields = {"created_at": _now(), **fields, "id": self.id}
        self._is_answered = False
        self._began = time.perf_counter()

    def respond(self, text: str, *, model: str, **fields: Unpack[DialogueFields]) -> None:
        """Record the answer, once. The time since the block began is its latency.

        :param text: the answer
        :param model: the name of the model that gave it
        :param fields: further fields of a dialogue, such as `citations`; they replace those of the question
        """
        latency_ms = round((time.perf_counter() - self._began) * 1000)
        if self._is_answered:
            self._ledger._refuse("dialogue: respond() was called again for the same answer; the first call counts")
            return
        self._is_answered = True
        answered = {"latency_ms": latency_ms, **self._fields, **fields, "response": text, "model_used": model}
        self._ledger._record(_fields.DIALOGUE, answered)

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_answered:
            why = "respond() was not called" if kind is None else "the block ended with an exception before respond()"
            self._ledger._refuse(f"dialogue: {why}")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


class Ledger:
    """Records events in Kafka for ragledger. Make one for the whole process; every thread and task may use it.

    No method waits for Kafka, except :meth:`flush` and :meth:`close`. No method raises an exception because of the
    content of an event or because of Kafka. Such events are counted in :meth:`stats`, and each cause is reported once.

    The caller's thread only copies the fields of an event. A thread of the ledger checks, encodes and sends it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        namespace: UUID | str | None = None,
        topics: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        max_events: int = 10_000,
        max_bytes: int = 64 * _MIB,
        flush_timeout_s: float = 5.0,
        flush_on_sigterm: bool = True,
        on_problem: Callable[[str], object] | None = None,
    ) -> None:
        """Check the settings. Nothing is connected before the first event.

        :param bootstrap_servers: brokers to contact first, as `host:port,host:port`
        :param namespace: converts ids of users and sessions that are not UUIDs to UUIDs of version 5
        :param topics: the names of topics other than the default ones, by "dialogue", "feedback", "provenance"
        :param config: settings of librdkafka, such as `security.protocol`
        :param max_events: how many events may wait for Kafka; further ones are dropped
        :param max_bytes: how much memory they may take
        :param flush_timeout_s: how long the end of the process may wait for Kafka
        :param flush_on_sigterm: flush at SIGTERM, then call the handler that was set before
        :param on_problem: called by a thread of the ledger with each problem, once; the default logs a warning
        :raises ValueError: a setting is wrong; the message names it
        """
        self._topics = {**_fields.TOPICS, **(topics or {})}
        if unknown := self._topics.keys() - _fields.TOPICS.keys():
            raise ValueError(f"topics: {', '.join(sorted(unknown))} must be one of {', '.join(_fields.TOPICS)}")
        if max_events < 1 or max_bytes < 1 or flush_timeout_s < 0:
            raise ValueError("max_events and max_bytes must be 1 or more, flush_timeout_s 0 or more")
        try:
            self._namespace = UUID(str(namespace)) if namespace is not None else None
        except ValueError:
            raise ValueError("namespace: must be a UUID; make one with uuid.uuid4() and keep it") from None
        self._max_bytes = max_bytes
        config = {"bootstrap.servers": bootstrap_servers, **(config or {})}
        self._sender = Sender(config, self._encode, max_events, max_bytes, on_problem)
        self._flush_timeout_s = flush_timeout_s
        _lifecycle.register(self._sender, flush_timeout_s, flush_on_sigterm)

    def answer(
        self, *, user_id: UUID | str, session_id: UUID | str, query: str, **fields: Unpack[DialogueFields]
    ) -> Answer:
        """A block in which a question is answered.

        :param fields: further fields of a dialogue that are already known, such as `temperature`
        """
        return Answer(self, {**fields, "user_id": user_id, "session_id": session_id, "query": query})

    def feedback(self, dialogue_id: UUID | str, user_feedback: int, *, given_at: datetime | str | None = None) -> None:
        """Record a user's verdict on an answer.

        :param dialogue_id: :attr:`Answer.id`
        :param user_feedback: -1, 0 or +1
        :param given_at: when the user gave it; now if omitted
        """
        event = {
            "dialogue_id": dialogue_id,
            "user_feedback": user_feedback,
            "given_at": _now() if given_at is None else given_at,
        }
        self._record(_fields.FEEDBACK, event)

    def provenance(
        self,
        *,
        content_id: UUID | str,
        content_type: str,
        source_uri: str,
        license_type: str,
        acquisition_method: str,
        **fields: Unpack[ProvenanceFields],
    ) -> str:
        """Record the origin of a piece of content. Its `acquired_at` is now if omitted.

        :return: the id of the record
        """
        given = fields.get("id")
        own = _id(given)
        event = {
            "acquired_at": _now(),
            **fields,
            "id": own,
            "content_id": content_id,
            "content_type": content_type,
            "source_uri": source_uri,
            "license_type": license_type,
            "acquisition_method": acquisition_method,
        }
        self._record(_fields.PROVENANCE, event)
        return own

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until no event waits for Kafka. Return whether no event waits.

        :param timeout: how many seconds to wait at most; `flush_timeout_s` if omitted
        """
        return self._sender.flush(self._flush_timeout_s if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush, then drop and count the events that Kafka has not acknowledged. The end of the process does so too."""
        self._sender.close(self._flush_timeout_s if timeout is None else timeout)
        _lifecycle.forget(self._sender)

    def stats(self) -> Stats:
        """The numbers of recorded, delivered and dropped events in this process, with the causes."""
        return self._sender.stats()

    def _refuse(self, cause: str) -> None:
        self._sender.refuse(cause)

    def _record(self, declaration: Declaration, given: Mapping[str, Any]) -> None:
        try:
            self._sender.put(snapshot(declaration, given, self._max_bytes))
        except Invalid as invalid:
            self._sender.refuse(f"{declaration.kind}: {invalid}")
        except Exception as error:  # noqa: BLE001 - the application must not fail because of its ledger
            self._sender.refuse(f"{declaration.kind}: {type(error).__name__} while it was copied")

    def _encode(self, recorded: Recorded) -> Encoded:
        kind = recorded.declaration.kind
        return encode(recorded, self._topics[kind], _KEYS[kind], self._namespace)


def _id(given: object) -> str:
    """The id as text; a new one if none was given. Text that is no UUID is refused when the event is checked."""
    if given is None:
        return uuid7(time.time_ns())
    try:
        return str(given)
    except Exception:  # noqa: BLE001 - the application must not fail because of its ledger
        return ""


def _now() -> datetime:
    return datetime.now(timezone.utc)
