"""Tests the text of the page in every state, and that no text can become markup or a link."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from consumer.http.page.document import CONTENT_SECURITY_POLICY, render
from consumer.http.page.snapshot import DeadLetters, Snapshot
from tests.unit.http.page.snapshots import NOW, TODAY, day, reading, snapshot

HOSTILE = "<script>alert(1)</script>\"'&<img src=//x onerror=y>"
EMPTY = Snapshot(NOW, TODAY, "UTC")
UNAVAILABLE = Snapshot(NOW, problem="the connection to PostgreSQL failed: refused")
STATES = {
    "full": snapshot(),
    "empty": EMPTY,
    "unavailable from the start": UNAVAILABLE,
    "unavailable": replace(snapshot(), problem="no answer", shown_at=NOW - timedelta(minutes=3)),
    "without Kafka": snapshot(kafka_problem="no broker has answered yet", partitions=[reading(0, lag=None)]),
    "first look": snapshot(partitions=[reading(0, rate=None)]),
    "one day": snapshot(days=[day(random.Random(2), 0)]),
    "an old day": snapshot(days=[day(random.Random(2), 400)]),
    "a day without figures": snapshot(
        days=[
            day(
                random.Random(3),
                0,
                total_dialogues=0,
                unique_users=0,
                slo_compliance={},
                **dict.fromkeys(("citation_rate", "latency_p50", "latency_p95", "latency_p99", "cost_per_answer")),
            )
        ]
    ),
    "hostile": snapshot(
        timezone=HOSTILE,
        problem=HOSTILE,
        kafka_problem=HOSTILE,
        days=[
            day(
                random.Random(4),
                0,
                slo_compliance={HOSTILE: {"target": None, "operator": HOSTILE, "actual": 1.5, "met": False}},
            )
        ],
        partitions=[replace(reading(0, HOSTILE), owner=HOSTILE)],
        dead_letters=[DeadLetters(HOSTILE, HOSTILE, 1000, NOW, NOW)],
    ),
}
EVERY_STATE = pytest.mark.parametrize("shown", STATES.values(), ids=STATES.keys())


class Elements(HTMLParser):
    """Collects every element with its attributes; raises if tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.found if name == tag)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@EVERY_STATE
def test_tags_nest_and_ids_are_unique(shown: Snapshot) -> None:
    """Every element that another one refers to exists."""
    page = Elements(render(shown))
    ids = [str(attributes["id"]) for _, attributes in page.found if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))
    referred = {attributes["aria-labelledby"] for _, attributes in page.found if "aria-labelledby" in attributes}
    assert referred <= set(ids)


@EVERY_STATE
def test_outside_text_does_not_become_markup(shown: Snapshot) -> None:
    """There are only our own elements, no handler, no style attribute, and no foreign address."""
    page = Elements(render(shown))
    assert len(list(page.named("script"))) == 1
    assert not list(page.named("img"))
    for _, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for address in (attributes.get("href"), attributes.get("src")):
            assert address is None or re.match(r"(/(?!/)|#|data:image/svg)", address), address


def test_hostile_text_is_shown_as_it_is() -> None:
    """It is shown as text, so that people can read the names of topics and reasons."""
    assert HOSTILE in Elements(render(STATES["hostile"])).words


@EVERY_STATE
def test_the_policy_allows_only_our_own_style_and_script(shown: Snapshot) -> None:
    """It allows them by hash, on every page."""
    page = render(shown)
    for element in ("style", "script"):
        [content] = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none';")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


@EVERY_STATE
def test_every_chart_and_table_has_a_description(shown: Snapshot) -> None:
    """Charts have a text, tables a caption and heads, and scrolling regions a name and keyboard focus."""
    page = Elements(render(shown))
    for attributes in page.named("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"], bool(attributes["aria-label"])) == (
            "img",
            True,
        )
    assert len(list(page.named("table"))) == len(list(page.named("caption")))
    assert all(attributes["scope"] in ("row", "col") for attributes in page.named("th"))
    for _, attributes in page.found:
        if attributes.get("class") == "scroll":
            assert (attributes["tabindex"], attributes["role"]) == ("0", "region")


@EVERY_STATE
def test_headings_are_in_order(shown: Snapshot) -> None:
    """There is one h1, and no level is skipped."""
    levels = [int(name[1]) for name, _ in Elements(render(shown)).found if re.fullmatch(r"h[1-6]", name)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("full", "Today, 2026-01-31"),
        ("full", "Up to date."),
        ("empty", "No day has been computed yet"),
        ("empty", "No partition has been claimed yet"),
        ("empty", "No dead letter is open."),
        ("unavailable from the start", "The database is unavailable: the connection to PostgreSQL failed: refused"),
        ("unavailable", "The figures below are from 14:00:05 UTC."),
        ("without Kafka", "The lag is unknown: no broker has answered yet"),
        ("first look", "measuring…"),
        ("an old day", "Newest day, 2024-12-27"),
        ("hostile", "Only the newest 1,000"),
    ],
)
def test_each_state_is_described_in_words(state: str, said: str) -> None:
    """A person who reads the page for the first time understands the state."""
    assert said in Elements(render(STATES[state])).words


def test_figures_are_in_the_tables_as_they_are_stored() -> None:
    """Costs have all their digits, and a missed objective is named."""
    shown: dict[str, Any] = {"total_cost": 12345678901234.56, "unique_users": 1234}
    missed = {"latency_p95": {"target": 3000.0, "operator": "<=", "actual": 3000.5, "met": False}}
    words = Elements(render(snapshot(days=[day(random.Random(1), 0, **shown, slo_compliance=missed)]))).words
    assert "¥12,345,678,901,234.56" in words
    assert "1,234" in words
    assert "✕ missed 3,000.5, target ≤ 3,000" in words
    assert "Objectives met 0 of 1" in words


def test_waiting_records_are_counted_by_partition() -> None:
    """They are in the state, in the sum and in the row."""
    words = Elements(render(snapshot(partitions=[reading(0, lag=1200), reading(1, lag=34), reading(2)]))).words
    assert "Records wait in 2 partitions." in words
    assert "Records waiting 1,234" in words


def test_the_state_text_changes_only_with_the_state() -> None:
    """A screen reader would read any other change aloud every few seconds."""
    first, later = snapshot(partitions=[reading(0, lag=5)]), snapshot(partitions=[reading(0, lag=7000, rate=1.0)])
    states = [re.findall(r'<p id="state"[^>]*>(.*?)</p>', render(one)) for one in (first, later)]
    assert states[0] == states[1] != []
