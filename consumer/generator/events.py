"""Generates streams of events: of one kind or of all, of one shape or of the mixture with its duplicates."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, NamedTuple

from consumer.generator.chance import Chance
from consumer.generator.members import Author, Members, milliseconds
from consumer.generator.shapes import MIXTURE, SHAPES, Shape

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
STEP = timedelta(milliseconds=300)
ALL = "all"
# The share of each kind in a stream of all kinds: some answers get a verdict, some sources are checked again.
SHARES: Mapping[str, float] = {
    "dialogue": 0.6,
    "provenance": 0.3,
    "feedback": 0.08,
    "verification": 0.015,
    "plugin": 0.005,
}
# A producer that restarts sends its last events again. So duplicates come in runs.
_REPEATS_ONE_IN, _LONGEST_RUN = 20_000, 40
_REMEMBERED = 500


class Event(NamedTuple):
    """One event.

    :param kind: the kind's name
    :param members: the members of the event; absent members are None
    :param value: the record's value
    :param timestamp_ms: the time of sending, in milliseconds since 1970
    :param is_repeated: whether the same event was sent before
    """

    kind: str
    members: Mapping[str, Any]
    value: bytes
    timestamp_ms: int
    is_repeated: bool = False


class Generator:
    """Generates events one by one. The same arguments give the same events."""

    def __init__(self, seed: int, shape: Shape | None = None, start: datetime = START, step: timedelta = STEP) -> None:
        """:param shape: the shape of every event; None selects the mixture
        :param start: the time of the first event, with a time zone
        :param step: the mean time between two events
        """
        self.chance = Chance(seed)
        self._author, self._shape = Author(self.chance), shape
        self._now, self._step = start, step
        self._ids = {kind: deque[str](maxlen=_REMEMBERED) for kind in ("dialogue", "provenance")}

    def next(self, kind: str, **changes: Any) -> Event:
        """Return the next event of a kind, with some members changed."""
        self._now += 2 * self.chance.random() * self._step
        shape = self._shape or self._producer()
        members = self._members(kind, shape) | changes
        if members.get("id") and kind in self._ids:
            self._ids[kind].append(members["id"])
        return Event(kind, members, encode(members, shape), milliseconds(self._now))

    def _producer(self) -> Shape:
        """Return a shape of the mixture."""
        share = self.chance.random()
        return next((shape for limit, shape in _PRODUCERS if share < limit), _PRODUCERS[-1][1])

    def _members(self, kind: str, shape: Shape) -> Members:
        if kind == "feedback":
            return self._author.feedback(shape, self._now, self._earlier("dialogue"))
        if kind == "verification":
            return self._author.verification(shape, self._now, self._earlier("provenance"))
        write = {
            "dialogue": self._author.dialogue,
            "provenance": self._author.provenance,
            "plugin": self._author.plugin,
        }
        return write[kind](shape, self._now)

    def _earlier(self, kind: str) -> str:
        """Return the id of an earlier event; if there is none, an id that no event has."""
        return self.chance.pick(self._ids[kind]) if self._ids[kind] else self.chance.random_id()


_PRODUCERS = tuple(zip(accumulate(share for share, _ in MIXTURE), (shape for _, shape in MIXTURE), strict=True))


def events(
    count: int,
    seed: int,
    kind: str = ALL,
    shape: str | None = None,
    *,
    start: datetime = START,
    step: timedelta = STEP,
    shares: Mapping[str, float] = SHARES,
) -> Iterator[Event]:
    """Yield `count` events.

    :param kind: a kind's name, or :data:`ALL`
    :param shape: one of :data:`SHAPES`, without duplicates; None selects the mixture, which has duplicates
    :param start: the time of the first event, with a time zone
    :param step: the mean time between two events
    :param shares: the share of each kind if `kind` is :data:`ALL`
    """
    generator = Generator(seed, None if shape is None else SHAPES[shape], start, step)
    kinds = [(1.0, kind)] if kind != ALL else list(zip(accumulate(shares.values()), shares, strict=True))
    recent: deque[Event] = deque(maxlen=_LONGEST_RUN)
    left = count
    while left > 0:
        if shape is None and recent and generator.chance.happens(1 / _REPEATS_ONE_IN):
            run = list(recent)[-generator.chance.whole(1, _LONGEST_RUN) :][:left]
            yield from (event._replace(is_repeated=True) for event in run)
            left -= len(run)
            continue
        share = generator.chance.random()
        event = generator.next(next((name for limit, name in kinds if share < limit), kinds[-1][1]))
        recent.append(event)
        left -= 1
        yield event


def encode(members: Mapping[str, Any], shape: Shape = SHAPES["plain"]) -> bytes:
    """Encode the event as the producer's JSON library does. Members that are None are left out."""
    present = {name: value for name, value in members.items() if value is not None}
    return _ENCODERS[shape.escaped, shape.compact](present).encode()


_ENCODERS = {
    (escaped, compact): json.JSONEncoder(
        ensure_ascii=escaped, separators=(",", ":") if compact else (", ", ": ")
    ).encode
    for escaped in (False, True)
    for compact in (False, True)
}
