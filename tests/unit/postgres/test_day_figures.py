"""Tests percentiles from the counts of values."""

from __future__ import annotations

from collections import Counter
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from consumer.postgres.day_figures import percentiles


@given(values=st.lists(st.integers(0, 2**31 - 1), min_size=1), fraction=st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_percentiles_from_counts_are_those_of_the_values(values: list[int], fraction: float) -> None:
    """The definition of percentile_cont: interpolated between the two values next to the place."""
    counted = Counter(values)
    distinct = sorted(counted)
    place, ordered = fraction * (len(values) - 1), sorted(values)
    low, high = ordered[floor(place)], ordered[ceil(place)]
    expected = low + (place - floor(place)) * (high - low)
    assert percentiles(distinct, [counted[value] for value in distinct], [fraction]) == [expected]


def test_no_value_has_no_percentile() -> None:
    """A day may have no latency."""
    assert percentiles([], [], [0.5]) is None
