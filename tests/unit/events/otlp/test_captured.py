"""Tests records that the Collector wrote for twelve instrumentations: the dialogues they become, field by field."""

import random
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import pytest

from consumer.events.otlp.trace import Stored
from tests.support.otlp import Captured, as_json, captured, expected, fold, staged

EXPECTED = expected()


def of(instrumentation: str, form: str) -> Sequence[Captured]:
    """Return the records of an instrumentation in one form."""
    return [one for one in captured() if (one.instrumentation, one.form) == (instrumentation, form)]


def becomes(records: Sequence[Captured]) -> dict[str, object]:
    """Return the result of each trace of the records."""
    traces = staged([(one.signal, one.value) for one in records])
    return {trace.hex: as_json(fold(trace, stored)) for trace, stored in traces.items()}


@pytest.mark.parametrize("instrumentation", sorted(EXPECTED))
def test_each_trace_has_its_expected_result(instrumentation: str) -> None:
    """The records are in protobuf."""
    assert becomes(of(instrumentation, "bin")) == EXPECTED[instrumentation]


@pytest.mark.parametrize("instrumentation", sorted(EXPECTED))
@pytest.mark.parametrize("form", ["json", "keyed"])
def test_json_and_records_by_trace_become_the_same(form: str, instrumentation: str) -> None:
    """The Kafka exporter may write JSON, or a record for each trace and batch."""
    found = becomes(of(instrumentation, form))
    assert found == {trace: EXPECTED[instrumentation][trace] for trace in found}


def test_every_captured_record_has_an_expectation() -> None:
    """Every captured record has an expected result."""
    assert {one.instrumentation for one in captured()} == EXPECTED.keys()


@pytest.mark.parametrize("seed", range(20))
def test_the_order_and_number_of_spans_change_nothing(seed: int) -> None:
    """Spans may come in any order, in both forms at once, and some twice: each trace gives the same dialogue."""
    chance = random.Random(seed)
    everything: defaultdict[UUID, list[Stored]] = defaultdict(list)
    for form in ("bin", "json", "keyed"):
        records = [one for one in captured() if one.form == form]
        for trace, stored in staged([(one.signal, one.value) for one in records]).items():
            everything[trace] += stored
    results = {trace: result for traces in EXPECTED.values() for trace, result in traces.items()}
    for trace, stored in everything.items():
        shuffled = [*stored, *chance.sample(stored, len(stored) // 2)]
        chance.shuffle(shuffled)
        assert as_json(fold(trace, shuffled)) == results[trace.hex]
