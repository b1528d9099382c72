"""The sections of the page, rendered from a snapshot. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from consumer.http.page import charts
from consumer.http.page.charts import Series
from consumer.http.page.html import Html, join, tag
from consumer.http.page.snapshot import DAYS, Snapshot
from consumer.http.page.words import NOTHING, comparison, money, number, plural, short_day, whole, whole_money

Day = Mapping[str, Any]


def newest_day(snapshot: Snapshot) -> Html:
    """Render the figures of the newest day."""
    if not snapshot.days:
        return _nothing_yet(snapshot)
    day = snapshot.days[0]
    judged = list(day["slo_compliance"].values())
    met, known = (sum(one["met"] is value for one in judged) for value in (True, False))
    tiles = [
        _tile("Dialogues", whole(day["total_dialogues"])),
        _tile("Users", whole(day["unique_users"])),
        _tile("Cite a source", number(day["citation_rate"], "%")),
        _tile("Latency p95", whole(day["latency_p95"], "ms")),
        _tile("Cost", whole_money(day["total_cost"])),
        _tile("Objectives met", f"{met} of {met + known}" if judged else NOTHING),
    ]
    when = "Today" if day["day"] == snapshot.today else "Newest day"
    heading = tag("h2", f"{when}, ", tag("time", day["day"].isoformat(), datetime=day["day"].isoformat()))
    return join(heading, tag("dl", *tiles, class_="tiles"))


def _tile(name: str, value: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value))


def _nothing_yet(snapshot: Snapshot) -> Html:
    if snapshot.problem:
        return join(tag("h2", "Days"), tag("p", "Days are shown when the database has answered."))
    publish = tag("code", "ragledger publish deploy/samples/dialogues.jsonl --topic rag.dialogue")
    return join(
        tag("h2", "Days"),
        tag("p", "No day has been computed yet. A day gets its row with its first dialogues."),
        tag("p", "To see one, publish some events: ", publish),
    )


def last_days(snapshot: Snapshot) -> Html | None:
    """Render the charts of the last thirty days."""
    if not snapshot.days:
        return None
    days = window(snapshot)
    rows = {day["day"]: day for day in snapshot.days}
    cards = [_citations(days, rows), _latency(days, rows), _cost(days, rows), _users(days, rows)]
    return join(tag("h2", f"The last {DAYS} days"), tag("div", *cards, class_="cards"))


def window(snapshot: Snapshot) -> Sequence[date]:
    """Return thirty days up to today, or up to the newest day if that is longer ago."""
    newest = snapshot.days[0]["day"]
    end = snapshot.today if snapshot.today and (snapshot.today - newest).days < DAYS else newest
    end = max(end, date.min + timedelta(days=DAYS - 1))
    return [end - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def _values(days: Sequence[date], rows: Mapping[date, Day], column: str) -> list[float | None]:
    found = [rows[day][column] if day in rows else None for day in days]
    return [None if value is None else float(value) for value in found]


def _target(rows: Mapping[date, Day], name: str) -> float | None:
    """Return the target of a built-in objective on the newest day; None if that day has no such objective."""
    judged = rows[max(rows)]["slo_compliance"].get(name)
    return judged["target"] if judged else None


def _citations(days: Sequence[date], rows: Mapping[date, Day]) -> Html:
    series = Series("cite a source", "first", _values(days, rows, "citation_rate"))
    target = _target(rows, "citation_rate")
    summary = _summary([series], lambda value: number(value, "%"))
    chart = charts.lines("Citation rate", summary, days, [series], lambda v: f"{v:g}%", top=100.0, target=target)
    return _card("Citation rate", "Dialogues that cite a source, in percent", chart, _legend([], target, "%"))


def _latency(days: Sequence[date], rows: Mapping[date, Day]) -> Html:
    names = (("p50", "first"), ("p95", "second"), ("p99", "third"))
    series = [Series(name, style, _values(days, rows, f"latency_{name}")) for name, style in names]
    target = _target(rows, "latency_p95")
    summary = _summary(series, lambda value: whole(value, "ms"))
    chart = charts.lines("Latency", summary, days, series, whole, target=target)
    return _card("Latency", "Percentiles of the time to answer, in milliseconds", chart, _legend(series, target, "ms"))


def _cost(days: Sequence[date], rows: Mapping[date, Day]) -> Html:
    series = Series("cost", "second", _values(days, rows, "total_cost"))
    chart = charts.bars("Cost", _summary([series], money), days, series, whole)
    return _card("Cost", "All dialogues of a day, in Japanese yen", chart)


def _users(days: Sequence[date], rows: Mapping[date, Day]) -> Html:
    series = Series("users", "first", _values(days, rows, "unique_users"))
    chart = charts.bars("Users", _summary([series], whole), days, series, number)
    return _card("Users", "Distinct users of a day", chart)


def _card(title: str, says: str, chart: Html, legend: Html | None = None) -> Html:
    caption = tag("figcaption", tag("h3", title), tag("p", says))
    return tag("figure", caption, chart, legend, class_="card")


def _legend(series: Sequence[Series], target: float | None, unit: str) -> Html | None:
    entries = [_key(f"line {one.style}", one.name) for one in series]
    entries += [_key("target", f"target {number(target, unit)}")] if target is not None else []
    return tag("ul", *entries, class_="legend") if entries else None


def _key(style: str, name: str) -> Html:
    sample = tag("svg", tag("path", class_=style, d="M1 5h22"), viewBox="0 0 24 10", aria_hidden="true")
    return tag("li", sample, name)


def _summary(series: Sequence[Series], write: Any) -> str:
    """Describe a chart in words, for people who cannot see it."""
    said = []
    for one in series:
        known = [value for value in one.values if value is not None]
        if known:
            span = f"between {write(min(known))} and {write(max(known))}"
            said.append(f"{one.name}: {span} on {plural(len(known), 'day')}, last {write(known[-1])}")
    return f"{'; '.join(said) or 'no data'}. All figures are in the table of days."


def objectives(snapshot: Snapshot) -> Html | None:
    """Render how the days meet the objectives of the newest day."""
    if not snapshot.days or not snapshot.days[0]["slo_compliance"]:
        return None
    days = window(snapshot)
    verdicts = {day["day"]: day["slo_compliance"] for day in snapshot.days}
    entries = [_objective(name, one, days, verdicts) for name, one in snapshot.days[0]["slo_compliance"].items()]
    key = tag("p", "Filled: met. Crossed: missed. Dash: no data.", class_="note")
    return join(tag("h2", "Objectives"), tag("ul", *entries, class_="objectives"), key)


def _objective(name: str, judged: Mapping[str, Any], days: Sequence[date], verdicts: Mapping[date, Any]) -> Html:
    met = [verdicts.get(day, {}).get(name, {}).get("met") for day in days]
    missed = [short_day(day) for day, verdict in zip(days, met, strict=True) if verdict is False]
    known = sum(verdict is not None for verdict in met)
    summary = f"{name}: met on {known - len(missed)} of {plural(known, 'day')} with data"
    summary += f", missed on {', '.join(missed)}" if missed else ""
    note = f"{number(judged['actual'])}, target {comparison(judged['operator'])} {number(judged['target'])}"
    line = tag("p", tag("strong", name), " ", verdict(judged), " ", tag("span", note, class_="note"))
    return tag("li", line, charts.strip(summary, days, met))


def verdict(judged: Mapping[str, Any]) -> Html:
    """Render met, missed or no data as a word and a sign; colour alone is not enough."""
    word, sign = {True: ("met", "✓"), False: ("missed", "✕")}.get(judged["met"], ("no data", NOTHING))
    return tag("span", tag("span", sign, aria_hidden="true"), f" {word}", class_=f"verdict {word.replace(' ', '-')}")
