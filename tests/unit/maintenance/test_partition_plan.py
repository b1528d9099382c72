"""Tests whether partitioning is due: the figures and their thresholds."""

from __future__ import annotations

import random
from statistics import fmean, pstdev, quantiles

import pytest

from consumer.maintenance.table_partitions.measure import Measured, Volume, p95_of
from consumer.maintenance.table_partitions.plan import judge, steps

GB = 1000**3


def reached(rows_a_day: float | None, size: float | None, p95: float | None) -> list[str]:
    """Return the criteria that are reached."""
    volume, total, latency = (Measured(value, "somewhere") for value in (rows_a_day, size, p95))
    return [criterion.name for criterion in judge(Volume(volume, total, latency, rows=0)) if criterion.reached]


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ((100_000, 50 * GB, 500), []),
        ((100_001, 0, 0), ["rows_a_day"]),
        ((0, 50 * GB + 1, 0), ["bytes"]),
        ((0, 0, 500.1), ["p95_ms"]),
        ((10**6, 10**12, 10**4), ["rows_a_day", "bytes", "p95_ms"]),
        ((None, None, None), []),
    ],
)
def test_one_threshold_is_enough(figures: tuple[float | None, ...], names: list[str]) -> None:
    """More than 100,000 rows a day, 50 GB, or 500 ms. An unknown figure reaches no threshold."""
    assert reached(*figures) == names


def statement(times: list[float]) -> dict[str, float]:
    """Return the statistics of a statement that took these times."""
    return {"calls": len(times), "mean": fmean(times), "deviation": pstdev(times), "longest": max(times)}


def test_the_p95_of_many_statements_is_close_to_that_of_all_their_calls() -> None:
    """It is estimated only from means and deviations, for any mix."""
    chance = random.Random(1)
    fast = [chance.gauss(100, 20) for _ in range(3000)]
    slow = [chance.gauss(300, 40) for _ in range(1000)]
    found = p95_of([statement(fast), statement(slow)])
    real = quantiles([*fast, *slow], n=100)[94]
    assert found == pytest.approx(real, rel=0.15)


def test_the_p95_is_never_above_the_longest_call() -> None:
    """One outlier makes the deviation large, but not the p95."""
    assert p95_of([statement([1.0] * 99 + [1000.0])]) <= 1000
    assert p95_of([statement([5.0] * 10)]) == 5.0


def test_a_larger_table_takes_longer_and_the_locks_do_not() -> None:
    """Copying and comparing take longer for a larger table; locks do not."""
    small, large = (list(steps(rows, rows * 2000)) for rows in (10_000, 100_000_000))
    assert [step.name for step in small] == ["made", "mirrored", "copied", "verified", "switched", "done"]
    grown = {one.name for one, other in zip(large, small, strict=True) if one.seconds > other.seconds}
    assert grown == {"copied", "verified"}
