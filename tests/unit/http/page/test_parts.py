"""Tests the parts of the page: HTML, charts, words."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.http.page import charts, words
from consumer.http.page.charts import Series
from consumer.http.page.html import Html, join, tag

DAYS = [date(2026, 1, 1) + timedelta(days=number) for number in range(30)]
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@given(st.text(), st.text())
def test_text_and_attributes_are_escaped(text: str, value: str) -> None:
    """Only our own elements stay elements, whatever the text is."""
    made = tag("p", text, tag("b", text), title=value)
    assert re.fullmatch(r'<p title="[^"<>]*">[^<>]*<b>[^<>]*</b></p>', made, re.DOTALL)


def test_attributes_follow_the_rules_of_html() -> None:
    """Underscores become hyphens, True gives a bare attribute, False and None give none, and void elements have
    no end tag.
    """
    assert tag("a", "x", class_="y", aria_label="z", hidden=True, id=None, open=False) == (
        '<a class="y" aria-label="z" hidden>x</a>'
    )
    assert tag("meta", name="n") == '<meta name="n">'
    assert join("<", None, Html("<b>"), 5) == "&lt;<b>5"


@given(st.lists(st.floats(0, 1e12), max_size=5))
def test_the_top_of_a_chart_is_just_above_its_values(values: list[float]) -> None:
    """It is a round number."""
    top = charts.nice_top(values)
    highest = max(values, default=0)
    assert highest <= top <= max(highest * 2.5, 0.01)


@given(st.lists(st.none() | st.floats(0, 1e9), min_size=30, max_size=30))
def test_lines_stay_inside_the_chart_and_break_at_a_missing_day(values: list[float | None]) -> None:
    """There is a dot for each value and a line for each run of days."""
    drawn = charts.lines("t", "s", DAYS, [Series("a", "first", values)], words.whole, target=5.0)
    assert drawn.count("<circle") == sum(value is not None for value in values)
    runs = len(re.findall("v+", "".join(" " if value is None else "v" for value in values)))
    assert drawn.count('class="line first"') == runs
    for x, y in re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', drawn):
        assert 0 <= float(x) <= charts.WIDTH
        assert 0 <= float(y) <= charts.HEIGHT


@given(st.lists(st.none() | st.floats(0, 1e9), min_size=30, max_size=30))
def test_bars_start_at_the_base_line(values: list[float | None]) -> None:
    """Each is as high as its value, and none has a negative height."""
    drawn = charts.bars("t", "s", DAYS, Series("a", "first", values), words.whole)
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([-\d.]+)"', drawn)]
    assert len(heights) == sum(value is not None for value in values)
    assert all(0 <= height <= charts.HEIGHT for height in heights)


def test_a_strip_shows_states_without_colour() -> None:
    """A cell is filled, crossed, or a dash."""
    drawn = charts.strip("s", DAYS[:3], [True, False, None])
    assert [drawn.count(f'class="{name}"') for name in ("cell met", "cell missed", "cross", "cell none")] == [
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (words.number(1234.5, "%"), "1,234.5 %"),
        (words.number(70), "70"),
        (words.number(100.0), "100"),
        (words.number(0.004), "0"),
        (words.number(None, "%"), words.NOTHING),
        (words.whole(2499.6, "ms"), "2,500 ms"),
        (words.whole(1000), "1,000"),
        (words.money(0.5), "¥0.50"),
        (words.money(None), words.NOTHING),
        (words.plural(1, "day"), "1 day"),
        (words.plural(2000, "day"), "2,000 days"),
        (words.short_day(date(2026, 1, 31)), "31 Jan"),
        (words.ago(NOW - timedelta(seconds=59), NOW), "59 s ago"),
        (words.ago(NOW - timedelta(seconds=61), NOW), "1 min ago"),
        (words.ago(NOW - timedelta(hours=3), NOW), "3 h ago"),
        (words.ago(NOW - timedelta(days=400), NOW), "400 d ago"),
        (words.ago(NOW + timedelta(hours=1), NOW), "0 s ago"),
        (words.stamp(NOW), "2026-01-31 12:00:00 UTC"),
    ],
)
def test_numbers_and_times_are_formatted_for_people(written: str, wanted: str) -> None:
    """They have separators and units. A clock that is ahead gives no negative time."""
    assert written == wanted
