"""Tests the Prometheus rules: how each objective is watched, and the YAML of its rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.admin.slo_rules import (
    Budget,
    DayOnly,
    Spending,
    Watch,
    apply,
    changes,
    condition,
    document,
    files,
    plain,
    watch_all,
)
from consumer.admin.slo_rules.budget import PAGE, TICKET
from consumer.admin.slo_rules.files import MARK, SHARED_FILE
from consumer.errors import OperationError
from consumer.ingest.slo import DEFAULT_OBJECTIVES, Figure, Objective, Operator
from consumer.telemetry import metrics as m

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
ALERT = re.compile(r"Ragledger[A-Z][A-Za-z]+")
BOUNDS = [f"{1000 * bound:g}" for bound in m.LATENCY_SECONDS]

targets = st.one_of(
    st.sampled_from(["0", "100", "70", "0.1", "99.99", "33.3333", "-1", "1e3", "1000000000000000", *BOUNDS]),
    st.decimals(-1000, 1000, allow_nan=False, places=3).map(str),
)
objectives = st.builds(
    Objective,
    name=st.one_of(
        st.from_regex(r"\A[a-z][a-z0-9_]{0,62}\Z"),
        st.sampled_from(["on", "null", "yes", "y", "budgets", "error_budgets", "x" * 63]),
    ),
    figure=st.sampled_from(get_args(Figure)),
    operator=st.sampled_from(get_args(Operator)),
    target=targets.map(Decimal),
)
many = st.lists(objectives, min_size=1, max_size=6, unique_by=lambda one: one.name)
# Two of each sort, so that names that two objectives must not share would collide.
PAIRS = [
    Objective.model_validate({"name": f"{figure}_{target}", "figure": figure, "operator": operator, "target": target})
    for figure, operator, both in (
        ("citation_rate", ">=", (80, 90)),
        ("negative_feedback_rate", "<=", (5, 15)),
        ("latency_p95", "<", (1000, 3000)),
        ("latency_p99", "<", (1000, 3000)),
        ("ingest_delay_p95", "<", (30, 60)),
        ("cost_per_answer", "<=", (5, 15)),
        ("total_cost", "<", (100, 200)),
    )
    for target in both
]


def watch(figure: Figure, operator: Operator, target: str) -> Watch:
    """Return how one objective is watched."""
    (found,) = watch_all([Objective(name="x", figure=figure, operator=operator, target=Decimal(target))])
    return found


def groups(watches: Sequence[Watch]) -> list[dict[str, Any]]:
    """Return the groups of all files."""
    return [group for text in files(watches).values() for group in yaml.safe_load(text)["groups"]]


# ── how an objective is watched ──


def test_the_built_in_objectives() -> None:
    """Four are shares of events with these targets; the cost of an answer is spending."""
    watches = watch_all(DEFAULT_OBJECTIVES)
    good = {one.objective.name: str(one.good) for one in watches if isinstance(one, Budget)}
    assert good == {"citation_rate": "0.7", "latency_p95": "0.95", "negative_feedback": "0.9", "freshness": "0.95"}
    assert [one.objective.name for one in watches if isinstance(one, Spending)] == ["cost_per_answer"]


@pytest.mark.parametrize(("figure", "good"), [("latency_p50", "0.5"), ("latency_p95", "0.95"), ("latency_p99", "0.99")])
@pytest.mark.parametrize("operator", ["<", "<="])
def test_a_percentile_is_a_share_below_a_bound(figure: Figure, good: str, operator: Operator) -> None:
    """The bound is in seconds, as in the histogram, and exact: 100 ms is the bound of 0.1 s."""
    for target, bound in (("3000", "3.0"), ("100", "0.1"), ("7500.00", "7.5"), ("60000", "60.0")):
        found = watch(figure, operator, target)
        assert isinstance(found, Budget)
        assert str(found.good) == good
        assert found.events.good == f'rag_dialogue_latency_seconds_bucket{{le="{bound}"}}'


@pytest.mark.parametrize(
    ("target", "choice"),
    [("3200", "3000 or 4000"), ("3000.1", "3000 or 4000"), ("1", "100"), ("-5", "100"), ("60001", "60000")],
)
def test_a_target_between_the_bounds_is_refused(target: str, choice: str) -> None:
    """The message names the nearest bounds. Rounding would watch another objective than the one that judges the
    days.
    """
    with pytest.raises(
        OperationError, match=rf"^x: {target} ms is not a bucket bound of rag_dialogue_.*: choose {choice}\n"
    ):
        watch("latency_p95", "<=", target)


def test_all_refusals_are_reported_together() -> None:
    """With --skip-refused nothing is refused; these objectives are judged by the day only, with the same reason."""
    wanted = [("a", "latency_p50", "1"), ("b", "ingest_delay_p95", "61"), ("c", "ingest_delay_p95", "300")]
    some = [Objective(name=name, figure=figure, operator="<", target=Decimal(one)) for name, figure, one in wanted]
    with pytest.raises(
        OperationError, match=r"(?s)^a: .*\nb: 61 s is not a bucket bound .*: choose 60 or 120\n.*--skip-refused"
    ):
        watch_all(some)
    found = watch_all(some, skip_refused=True)
    assert [type(one) for one in found] == [DayOnly, DayOnly, Budget]
    assert isinstance(found[1], DayOnly)
    assert "not a bucket bound" in found[1].why


@pytest.mark.parametrize(
    ("figure", "operator", "target"),
    [
        ("avg_relevance_score", ">=", "0.8"),
        ("citation_rate", "<=", "70"),
        ("negative_feedback_rate", ">", "10"),
        ("latency_p95", ">=", "3000"),
        ("ingest_delay_p95", ">", "60"),
        ("cost_per_answer", ">=", "1"),
        ("total_cost", ">", "1"),
        ("citation_rate", ">=", "100"),
        ("citation_rate", ">", "0"),
        ("citation_rate", ">", "-3"),
        ("negative_feedback_rate", "<=", "0"),
        ("negative_feedback_rate", "<", "100"),
        ("negative_feedback_rate", "<", "250"),
    ],
)
def test_an_objective_that_prometheus_cannot_watch_is_judged_by_the_day_only(
    figure: Figure, operator: Operator, target: str
) -> None:
    """There is no metric, the operator is the wrong one, or there is no budget: no rules, but a reason."""
    found = watch(figure, operator, target)
    assert isinstance(found, DayOnly)
    assert found.why
    assert files([found]) == {}


# ── burn rates ──


@given(st.decimals("0.0001", "0.9999", places=4))
def test_every_burn_rate_can_be_reached(budget: Decimal) -> None:
    """For any budget, every condition holds if every event is bad, and faster conditions need no lower rate."""
    factors = [burn.within(budget) for urgency in (PAGE, TICKET) for burn in urgency.burns]
    assert factors[0] * budget < 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1


def test_the_factors_are_those_of_sloth_if_they_can_be_reached() -> None:
    """Larger budgets have lower factors; a page still needs a higher rate than a ticket."""
    factors = {
        budget: [plain(burn.within(Decimal(budget))) for urgency in (PAGE, TICKET) for burn in urgency.burns]
        for budget in ("0.001", "0.05", "0.1", "0.3", "0.5")
    }
    assert factors == {
        "0.001": ["14.4", "6", "3", "1"],
        "0.05": ["14.4", "6", "3", "1"],
        "0.1": ["7.75", "5.5", "3", "1"],
        "0.3": ["2.75", "2.16", "1.58", "1"],
        "0.5": ["1.75", "1.5", "1.25", "1"],
    }


# ── YAML ──


@given(many)
@example(PAIRS)
def test_the_rules_of_any_objectives_are_well_formed(some: Sequence[Objective]) -> None:
    """Names, labels and numbers have their types, no group or record is a duplicate, and no placeholder is left."""
    found = groups(watch_all(some, skip_refused=True))
    rules = [rule for group in found for rule in group["rules"]]
    assert len({group["name"] for group in found}) == len(found)
    keys = [(rule.get("record") or rule["alert"], str(sorted(rule.get("labels", {}).items()))) for rule in rules]
    assert len(set(keys)) == len(keys)
    for rule in rules:
        labels = rule.get("labels", {})
        assert all(LABEL.fullmatch(key) and isinstance(value, str) for key, value in labels.items())
        assert "WINDOW" not in rule["expr"]
        assert not re.search(r"\dE\+", rule["expr"])
        assert "alert" not in rule or ALERT.fullmatch(rule["alert"])


@given(many)
def test_every_watched_objective_has_a_file(some: Sequence[Objective]) -> None:
    """Each has its own file, with its name in every record and alert; budgets share one more file."""
    watches = watch_all(some, skip_refused=True)
    found = files(watches)
    watched = [one for one in watches if not isinstance(one, DayOnly)]
    names = {f"slo-{one.objective.name}.yml" for one in watched}
    shared = {SHARED_FILE} if any(isinstance(one, Budget) for one in watched) else set()
    assert found.keys() == names | shared
    assert len(names | shared) == len(names) + len(shared)
    for one in watched:
        text = found[f"slo-{one.objective.name}.yml"]
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        assert all(one.objective.name in str(rule.get("labels")) + rule["expr"] for rule in rules)
        assert text.startswith(MARK)


@given(many)
def test_one_document_equals_the_files(some: Sequence[Objective]) -> None:
    """It has every group once, and every objective in a comment, even one without rules."""
    watches = watch_all(some, skip_refused=True)
    text = document(watches)
    assert sorted(map(str, yaml.safe_load(text)["groups"])) == sorted(map(str, groups(watches)))
    assert all(f"\n# {condition(one)}, " in text for one in some)


# ── a directory ──


def test_a_directory_gets_these_files_and_keeps_the_foreign_ones(tmp_path: Path) -> None:
    """Obsolete files of ours are removed, foreign files are not changed, and current files are not written again."""
    (tmp_path / "ingestion.yml").write_text("groups: []\n")
    (tmp_path / "slo-theirs.yml").write_text("groups: []\n")
    first = {"slo-a.yml": f"{MARK}\na\n", "slo-b.yml": f"{MARK}\nb\n"}
    apply(changes(tmp_path, first))
    assert not changes(tmp_path, first)
    wanted = changes(tmp_path, {"slo-a.yml": f"{MARK}\na\n", "slo-c.yml": f"{MARK}\nc\n"})
    assert [path.name for path in wanted.write] == ["slo-c.yml"]
    assert [path.name for path in wanted.remove] == ["slo-b.yml"]
    apply(wanted)
    assert {path.name for path in tmp_path.iterdir()} == {"ingestion.yml", "slo-theirs.yml", "slo-a.yml", "slo-c.yml"}


def test_a_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    """The error names it, and nothing is written."""
    theirs = tmp_path / "slo-a.yml"
    theirs.write_bytes(b"\xff")
    with pytest.raises(OperationError, match=re.escape(str(theirs))):
        changes(tmp_path, {"slo-a.yml": MARK, "slo-b.yml": MARK})
    assert theirs.read_bytes() == b"\xff"
