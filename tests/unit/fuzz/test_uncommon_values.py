"""Tests each uncommon value in each field that it nearly fits, at every place of a slice: other records are not
affected.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from tests.unit.fuzz import values
from tests.unit.fuzz.checks import check_slice
from tests.unit.fuzz.hostile import KINDS, Event, Hostile, encode

pytestmark = pytest.mark.thorough

MAX_BYTES = 1_000_000
FIELDS = [
    pytest.param(kind, name, id=f"{kind.name}.{name}") for kind in KINDS for name in (*kind.fields, "an unknown field")
]


def uncommon_values(kind: Kind, name: str) -> Sequence[str]:
    """Return the values for a field. Times are also put into citations."""
    found = values.fitting(kind.fields[name].pg_type if name in kind.fields else "") + values.CONSTANTS
    if name == "citations":
        found += [f'[{{"source":"s","timestamp":{time}}}]' for time in values.TIMES]
        found += [f'[{{"source":"s","confidence":{number}}}]' for number in (*values.NUMBERS, *values.QUOTED_NUMBERS)]
    return found


def changed(event: Event, name: str, value: str) -> Event:
    """Return the event with another value in one field."""
    spelt = json.dumps(name)
    return [*(member for member in event if member[0] != spelt), (spelt, value)]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_an_uncommon_value_among_plain_ones(kind: Kind, name: str) -> None:
    """It is the first, the last, or between the others in a slice of five."""
    hostile = Hostile(kind, random.Random(name))
    for place, value in enumerate(uncommon_values(kind, name)):
        records = [hostile.plain() for _ in range(4)]
        uncommon = hostile.record(encode(changed(hostile.plain_events[0], name, value)))
        records.insert(place % 5, uncommon)
        check_slice(kind, records, MAX_BYTES)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_uncommon_values_side_by_side(kind: Kind, name: str) -> None:
    """All of them are in one slice, in random order, with plain records between them; then the uncommon ones alone."""
    chance = random.Random(name)
    hostile = Hostile(kind, chance)
    events = [changed(chance.choice(hostile.plain_events), name, value) for value in uncommon_values(kind, name)]
    uncommon = [hostile.record(encode(event)) for event in chance.sample(events, len(events))]
    mixed: list[StoredRecord] = [one for record in uncommon for one in (record, hostile.plain())]
    for records in (mixed, uncommon):
        check_slice(kind, records, MAX_BYTES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_record_has_another_uncommon_field(kind: Kind) -> None:
    """Each column decoder finds its own uncommon records in turn, and the plain ones stay."""
    hostile = Hostile(kind, random.Random(4))
    for shift in range(30):
        records = []
        for place, name in enumerate(kind.fields):
            found = uncommon_values(kind, name)
            value = found[(7 * shift + place) % len(found)]
            records += [hostile.plain(), hostile.record(encode(changed(hostile.plain_events[place], name, value)))]
        check_slice(kind, records, MAX_BYTES)
