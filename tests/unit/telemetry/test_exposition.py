"""Tests that a scrape equals the output of the client library's encoders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder

from consumer.events.provenance import PROVENANCE
from consumer.telemetry import metrics as m
from consumer.telemetry.exposition import Exposition
from tests.support.builders import dialogue, provenance
from tests.support.scope import Scope
from tests.support.world import A, B

TEXT, OPENMETRICS = "text/plain", "application/openmetrics-text; version=1.0.0"
ACCEPTED = [
    "",
    "*/*",
    TEXT,
    OPENMETRICS,
    "application/openmetrics-text",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,*/*;q=0.1",
    "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5",
    "text/plain;version=1.0.0;escaping=underscores",
]
HOSTILE = [
    '"',
    "\\",
    "\\n",
    "a\nb",
    "{}",
    'x"} 1\nfake_total 1',
    "モデル😀",
    "a,b=c",
    "x" * 100,
    "\x7f\x85\u2028",
    "\ufffd",
    " ",
]


def assert_like_the_library(scope: Scope, exposition: Exposition, accept: str) -> None:
    """Compare the bytes and the content type with the library's."""
    encode, content_type = choose_encoder(accept)
    assert exposition.render(accept) == (encode(scope.metrics.registry), content_type)


@pytest.fixture
def scope() -> Scope:
    """Return metrics with some series of each type."""
    scope = Scope()
    for name in HOSTILE:
        scope.write(dialogue(model_used=name, latency_ms=1500, token_cost_jpy="1.25", user_feedback=1))
    scope.write(provenance(), kind=PROVENANCE)
    scope.telemetry.lag(A, 5, 1.5)
    scope.telemetry.lag(B, 123_456_789, 1e9)
    return scope


@pytest.mark.parametrize("accept", ACCEPTED)
def test_both_formats_equal_those_of_the_library(scope: Scope, accept: str) -> None:
    """This holds for any Accept header, and for a model name with line breaks."""
    assert_like_the_library(scope, Exposition(scope.metrics), accept)


def test_a_second_scrape_shows_the_changes(scope: Scope) -> None:
    """Counters, gauges that go up, down and to NaN, histograms, and series that appear and disappear."""
    exposition = Exposition(scope.metrics)
    changes: list[Callable[[], None]] = [
        lambda: scope.write(dialogue(model_used="new", latency_ms=3000), dialogue(model_used='"')),
        lambda: scope.telemetry.lag(A, 4, 0.5),
        lambda: scope.telemetry.revoked([A]),
        lambda: scope.telemetry.lag(A, 5, 1.5),
        lambda: scope.metrics.gauge(m.DAY_COST).set(float("nan")),
        lambda: scope.metrics.gauge(m.DAY_COST).set(float("inf")),
        lambda: scope.metrics.keep(m.SLO_MET, ["none"]),
    ]
    for change in changes:
        change()
        for accept in (TEXT, OPENMETRICS):
            assert_like_the_library(scope, exposition, accept)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.floats().map(lambda value: value + 0.0) | st.integers(0, 10**18), min_size=1),
)
def test_any_name_and_any_number(name: str, values: list[float]) -> None:
    """As a label and as a value, and again with the same value."""
    metrics = m.Metrics()
    exposition = Exposition(metrics)
    for value in values:
        metrics.gauge(m.SLO_MET, name).set(value)
        encode, _ = choose_encoder(OPENMETRICS)
        assert exposition.render(OPENMETRICS)[0] == encode(metrics.registry)


def test_a_scrape_formats_only_changed_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost depends on the models that were active, not on all models."""
    metrics = m.Metrics()
    exposition = Exposition(metrics)
    for number in range(1000):
        metrics.counter(m.CITATIONS, f"model {number}").inc()
        metrics.histogram(m.DIALOGUE_LATENCY, f"model {number}").observe(1.0)
    exposition.render(TEXT)
    numbers = 0

    def counted(value: float) -> str:
        nonlocal numbers
        numbers += 1
        return repr(value)

    monkeypatch.setattr("consumer.telemetry.exposition._text", counted)
    exposition.render(TEXT)
    assert numbers == 0
    for number in range(3):
        metrics.counter(m.CITATIONS, f"model {number}").inc()
        metrics.histogram(m.DIALOGUE_LATENCY, f"model {number}").observe(1.0)
    exposition.render(TEXT)
    assert numbers == 3 * (1 + len(m.LATENCY_SECONDS) + 3)
