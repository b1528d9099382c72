"""Renders the metrics for a scrape, in the Prometheus text format and in OpenMetrics.

The client library's encoders build an object for every sample, and sort and escape its labels again in each scrape.
With a thousand models that is 25,000 samples and blocks the event loop for a quarter of a second. Here the line of a
series is cached until its value changes. The two formats differ only in the HELP and TYPE lines. A test compares the
output with the client library's, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from consumer.telemetry.histogram import BulkHistogram, Series
from consumer.telemetry.metrics import Metric, Metrics, kind

_OPENMETRICS = "application/openmetrics-text"
_go_text: Callable[[float], str] = floatToGoString


class _Family(Protocol):
    def lines(self) -> Iterator[str]:
        """Yield the lines of all present series, each with its line end."""
        ...


class Exposition:
    """Renders the metrics for a scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._families = [(_heads(metric), _family(metric, made)) for metric, made in metrics.made.items()]

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the body and its content type, for an Accept header."""
        _, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith(_OPENMETRICS)
        parts: list[str] = []
        for heads, family in self._families:
            parts.append(heads[openmetrics])
            parts.extend(family.lines())
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode(), content_type


def _heads(metric: Metric) -> tuple[str, str]:
    """Return HELP and TYPE for the text format and for OpenMetrics, which omits a counter's suffix."""
    help_text = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
    name = metric.name.removesuffix("_total")
    text = f"# HELP {metric.name} {help_text}\n# TYPE {metric.name} {kind(metric)}\n"
    quoted = help_text.replace('"', r"\"")
    return text, f"# HELP {name} {quoted}\n# TYPE {name} {kind(metric)}\n"


def _family(metric: Metric, made: Any) -> _Family:
    return _Histograms(metric, made) if isinstance(made, BulkHistogram) else _Values(metric, made)


class _Values:
    """The series of a counter or a gauge."""

    def __init__(self, metric: Metric, made: Any) -> None:
        self._metric, self._made = metric, made
        self._known: dict[tuple[str, ...], tuple[float, str]] = {}

    def lines(self) -> Iterator[str]:
        children: Mapping[tuple[str, ...], Any] = self._made._metrics if self._metric.labels else {(): self._made}
        _forget(self._known, children)
        for labels, child in children.items():
            value = child._value.get()
            known = self._known.get(labels)
            if known is None or known[0] != value:
                line = f"{self._metric.name}{_braces(self._metric.labels, labels)} {_text(value)}\n"
                known = self._known[labels] = value, line
            yield known[1]


class _Histograms:
    """The series of a histogram: a block of lines for each set of label values."""

    def __init__(self, metric: Metric, made: BulkHistogram) -> None:
        self._metric, self._made = metric, made
        self._bounds = [*map(_text, metric.buckets), "+Inf"]
        self._starts: dict[tuple[str, ...], list[str]] = {}
        self._known: dict[tuple[str, ...], tuple[int, str]] = {}

    def lines(self) -> Iterator[str]:
        for labels, series in self._made.series.items():
            known = self._known.get(labels)
            if known is None or known[0] != series.batches:
                known = self._known[labels] = series.batches, self._block(labels, series)
            yield known[1]

    def _block(self, labels: tuple[str, ...], series: Series) -> str:
        starts = self._starts.get(labels)
        if starts is None:
            starts = self._starts[labels] = list(self._line_starts(labels))
        counts = [float(count) for _, count in series.buckets()]
        values = map(_text, [*counts, counts[-1], series.sum])
        return "".join([f"{start} {value}\n" for start, value in zip(starts, values, strict=True)])

    def _line_starts(self, labels: tuple[str, ...]) -> Iterator[str]:
        """Yield the start of each line; the labels are escaped only once."""
        name, names = self._metric.name, self._metric.labels
        pairs = _pairs(names, labels)
        before = "".join(f"{pair}," for pair in pairs if pair < "le")
        behind = "".join(f",{pair}" for pair in pairs if pair > "le")
        for bound in self._bounds:
            yield f'{name}_bucket{{{before}le="{bound}"{behind}}}'
        for part in ("count", "sum"):
            yield f"{name}_{part}{_braces(names, labels)}"


def _text(value: float) -> str:
    """Format a number as the client library does. Up to six digits, Python's repr gives the same and is faster."""
    return repr(value) if -1e6 < value < 1e6 else _go_text(value)


def _forget(known: dict[tuple[str, ...], Any], present: Mapping[tuple[str, ...], Any]) -> None:
    """Remove cached lines of series that are gone, such as those of revoked partitions."""
    for labels in known.keys() - present.keys():
        del known[labels]


def _braces(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return f"{{{','.join(_pairs(names, values))}}}" if names else ""


def _pairs(names: tuple[str, ...], values: tuple[str, ...]) -> list[str]:
    return [f'{name}="{_escaped(value)}"' for name, value in sorted(zip(names, values, strict=True))]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
