"""Writes docs/reliability.md from a template and the results of the suite. Run as a program, it takes the
newest results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tests.faults.results import DIRECTORY

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURES = DOCS / "reliability.md", DOCS / "reliability.json"
TEMPLATE = Path(__file__).with_name("reliability.md")
COLUMNS = ("fault", "faults", "records", "lost", "stored twice", "unaccounted", "written again", "caught up")
LONG_COLUMNS = ("fault", "times", "written again: median", "worst", "caught up: median", "worst")
NOT_YET = "Not taken yet."


def write(results: Path = DIRECTORY) -> None:
    """Store new results, keep earlier ones of scenarios that were not run, and write the page."""
    figures = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    for part in ("scenarios", "long", "fuzz"):
        if (found := results / f"{part}.json").exists():
            figures[part] = _merged(figures.get(part, {}), json.loads(found.read_text("utf-8")))
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(figures), "utf-8")


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    by_title = {one["title"]: one for document in (old, new) for one in document.get("scenarios", ())}
    return {**new, "scenarios": [*by_title.values()]} if by_title else new


def page(figures: Mapping[str, Any]) -> str:
    """Return the page for these figures."""
    scenarios, long, fuzz = (figures.get(part) for part in ("scenarios", "long", "fuzz"))
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        scenarios=_table(COLUMNS, _rows(scenarios["scenarios"])) if scenarios else NOT_YET,
        scenarios_sum=_sum(scenarios["scenarios"]) if scenarios else "",
        long_intro=_intro(long["scenarios"][0]) if long else NOT_YET,
        long=_table(LONG_COLUMNS, _long_rows(long["scenarios"][0])) if long else "",
        long_sum=_sum(long["scenarios"]) if long else "",
        fuzz=_fuzz(fuzz) if fuzz else NOT_YET,
        machine="\n\n".join(
            f"{name}: {_machine(document)}"
            for name, document in (("The scenarios", scenarios), ("The long run", long))
            if document
        ),
    )


def _rows(scenarios: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            one["title"] if one["passed"] else f"**{one['title']}: failed**",
            _count(sum(one["happened"].values())),
            *_account(one),
            *(_seconds(one, name) for name in ("written_worst", "caught_up_worst")),
        ]
        for one in scenarios
    ]


def _account(one: Mapping[str, Any]) -> list[str]:
    account = one["account"] or {}
    return [_count(account.get(name)) for name in ("records", "lost", "stored_twice", "unaccounted")]


def _seconds(one: Mapping[str, Any], name: str) -> str:
    found = [times[name] for times in one["times"].values()]
    return f"{max(found):.1f}" if found else "-"


def _intro(one: Mapping[str, Any]) -> str:
    happened = ", ".join(f"{name}: {count:,}" for name, count in one["happened"].items())
    return (
        f"{'' if one['passed'] else '**Failed.** '}Three replicas ran on three brokers with three copies of everything "
        f"for {one['seconds'] / 60:.0f} minutes, with seed {one['seed']}. The faults: {happened}; "
        f"{one['rebalances']:,} rebalances. About a third of the faults began during another one. "
        f"{one['ended_by_themselves']} processes ended by themselves and were restarted."
    )


def _long_rows(one: Mapping[str, Any]) -> list[list[str]]:
    names = ("written", "written_worst", "caught_up", "caught_up_worst")
    return [
        [name, _count(times["count"]), *(f"{times[figure]:.1f}" for figure in names)]
        for name, times in one["times"].items()
    ]


def _sum(scenarios: Sequence[Mapping[str, Any]]) -> str:
    accounts = [one["account"] for one in scenarios if one["account"]]
    total = {name: sum(account[name] for account in accounts) for name in accounts[0]}
    return (
        f"In all {total['records']:,} committed records became {total['rows']:,} rows, {total['duplicates']:,} "
        f"duplicates and {total['dead_letters']:,} dead letters. Lost: {total['lost']:,}. Stored twice: "
        f"{total['stored_twice']:,}. Unaccounted: {total['unaccounted']:,}."
    )


def _fuzz(document: Mapping[str, Any]) -> str:
    verdicts: dict[str, int] = dict(document["verdicts"])
    total, rows = sum(verdicts.values()), verdicts.pop("row")
    reasons = ", ".join(f"`{reason}` {count:,}" for reason, count in sorted(verdicts.items(), key=lambda one: -one[1]))
    return (
        f"{document['taken_at'][:10]}, seed {document['seed']}: {total:,} records, each with the expected verdict. "
        f"{rows:,} became rows, {total - rows:,} a reason: {reasons}."
    )


def _machine(document: Mapping[str, Any]) -> str:
    machine, versions = document["machine"], document["versions"]
    return (
        f"{document['taken_at'][:10]}, {machine['cores']} cores of {machine['processor']} (load "
        f"{machine['load']:.0f} at the end, the suite included), {machine['memory_gb']} GB, {machine['system']}; Kafka "
        f"{versions['Kafka']}, PostgreSQL {versions['PostgreSQL']}."
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    write()
