"""Generates sample records for the demo: most are good, some are bad, some are duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from consumer.generator.events import Event, Generator
from consumer.generator.faults import BadRecord, bad_record

_PERIOD = timedelta(seconds=20)
_DIALOGUE_SHARE = 0.7
_AMENDS_EVERY, _BAD_EVERY, _DUPLICATE_EVERY = 7, 50, 40
_AMENDMENTS = ("feedback", "verification", "feedback", "plugin")


class Fate(StrEnum):
    """The expected outcome of a sample."""

    GOOD = "good"
    AMENDS = "amends"
    TWICE = "twice"
    BAD = "bad"


class Sample(NamedTuple):
    """A record to publish, and its expected outcome."""

    record: Event | BadRecord
    fate: Fate


def samples(count: int, now: datetime, seed: int) -> Iterator[Sample]:
    """Yield `count` records. The same seed and time give the same records.

    :param now: the time, with a time zone, shortly before which the answers were given
    """
    generator = Generator(seed, start=now - _PERIOD, step=_PERIOD / (count + 1) / 2)
    previous: Event | None = None
    for number in range(count):
        if number % _BAD_EVERY == _BAD_EVERY - 1:
            yield Sample(bad_record(generator, number // _BAD_EVERY), Fate.BAD)
        elif number % _AMENDS_EVERY == _AMENDS_EVERY - 1:
            kind = _AMENDMENTS[number // _AMENDS_EVERY % len(_AMENDMENTS)]
            yield Sample(generator.next(kind), Fate.AMENDS)
        elif number % _DUPLICATE_EVERY == _DUPLICATE_EVERY - 1 and previous is not None:
            yield Sample(previous, Fate.TWICE)
        else:
            previous = generator.next("dialogue" if generator.chance.happens(_DIALOGUE_SHARE) else "provenance")
            yield Sample(previous, Fate.GOOD)
