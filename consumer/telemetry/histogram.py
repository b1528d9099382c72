"""A histogram that observes many values at once, at a tenth of the cost of single calls."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


def bound_name(bound: float) -> str:
    """Return an upper bound as in the label `le`: 3.0."""
    name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return name


class Series:
    """The buckets of one set of label values."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, *values: float) -> None:
        """Add the values."""
        ordered = sorted(values)
        below = 0
        for place, bound in enumerate(self._bounds):
            upto = bisect_right(ordered, bound)
            self._counts[place] += upto - below
            below = upto
        self._counts[-1] += len(ordered) - below
        self._sum += sum(ordered)

    def buckets(self) -> list[tuple[str, float]]:
        """Return each upper bound as in the label `le`, and the number of values at or below it."""
        names = [*map(bound_name, self._bounds), "+Inf"]
        counted, found = 0, []
        for name, count in zip(names, self._counts, strict=True):
            counted += count
            found.append((name, float(counted)))
        return found

    @property
    def sum(self) -> float:
        """Sum of all values."""
        return self._sum


class BulkHistogram(Collector):
    """A histogram with one series for each set of label values."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name, self._meaning, self._labels, self._bounds = name, meaning, labels, bounds
        self.series: dict[tuple[str, ...], Series] = {}
        """By label values."""
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Series:
        """Return the series of these label values."""
        series = self.series.get(values)
        if series is None:
            series = self.series[values] = Series(self._bounds)
        return series

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric for a scrape."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, series in self.series.items():
            family.add_metric(values, buckets=series.buckets(), sum_value=series.sum)
        yield family
