"""Rules for Prometheus from objectives: how each objective is watched, and what becomes of it in YAML."""

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
# Each sort twice, so that what two objectives must not have in common would meet.
TWICE = [
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
    """How one objective is watched."""
    (found,) = watch_all([Objective(name="x", figure=figure, operator=operator, target=Decimal(target))])
    return found


def groups(watches: Sequence[Watch]) -> list[dict[str, Any]]:
    """The groups of every file."""
    return [group for text in files(watches).values() for group in yaml.safe_load(text)["groups"]]


# ── how an objective is watched ──


def test_the_built_in_objectives() -> None:
    """Four are shares of events, with these targets; what an answer costs is none."""
    watches = watch_all(DEFAULT_OBJECTIVES)
    good = {one.objective.name: str(one.good) for one in watches if isinstance(one, Budget)}
    assert good == {"citation_rate": "0.7", "latency_p95": "0.95", "negative_feedback": "0.9", "freshness": "0.95"}
    assert [one.objective.name for one in watches if isinstance(one, Spending)] == ["cost_per_answer"]


@pytest.mark.parametrize(("figure", "good"), [("latency_p50", "0.5"), ("latency_p95", "0.95"), ("latency_p99", "0.99")])
@pytest.mark.parametrize("operator", ["<", "<="])
def test_a_percentile_is_a_share_below_a_bound(figure: Figure, good: str, operator: Operator) -> None:
    """In seconds, as the histogram has it; exactly, so that 100 ms are the bound of 0.1 s."""
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
    """With those next to it: rounding would watch another objective than the one that days are held against."""
    with pytest.raises(
        OperationError, match=rf"^x: {target} ms is not a bucket bound of rag_dialogue_.*: choose {choice}\n"
    ):
        watch("latency_p95", "<=", target)


def test_every_refusal_is_said_at_once() -> None:
    """Or nothing is refused, and these are judged by the day only, for the reason said."""
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
def test_what_prometheus_cannot_tell_is_judged_by_the_day_only(figure: Figure, operator: Operator, target: str) -> None:
    """No metric, the wrong way round, or no budget at all: no rules, and a reason."""
    found = watch(figure, operator, target)
    assert isinstance(found, DayOnly)
    assert found.why
    assert files([found]) == {}


# ── burning ──


@given(st.decimals("0.0001", "0.9999", places=4))
def test_no_burn_is_out_of_reach(budget: Decimal) -> None:
    """However large the budget: if every event is bad, each condition holds; the quicker ones ask for no less."""
    factors = [burn.within(budget) for urgency in (PAGE, TICKET) for burn in urgency.burns]
    assert factors[0] * budget < 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 1


def test_the_factors_are_sloth_s_where_they_can_be_reached() -> None:
    """And lower for larger budgets, a page still more urgent than a ticket."""
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
@example(TWICE)
def test_whatever_the_objectives_are_the_rules_are_well_formed(some: Sequence[Objective]) -> None:
    """Names, labels and numbers are of their kinds, no group and no record stands twice, and nothing is left open."""
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
def test_every_objective_that_is_watched_has_a_file(some: Sequence[Objective]) -> None:
    """Of its own, whatever it is called, with its name in every record and alert; budgets share one more."""
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
def test_one_document_has_what_the_files_have(some: Sequence[Objective]) -> None:
    """Every group once, and every objective in a comment, those without rules too."""
    watches = watch_all(some, skip_refused=True)
    text = document(watches)
    assert sorted(map(str, yaml.safe_load(text)["groups"])) == sorted(map(str, groups(watches)))
    assert all(f"\n# {condition(one)}, " in text for one in some)


# ── a directory ──


def test_a_directory_ends_up_with_these_files_and_the_others_that_it_had(tmp_path: Path) -> None:
    """What we wrote and is no more wanted goes; nothing of other hands is touched; what is current is not written."""
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


def test_a_file_of_other_hands_is_not_overwritten(tmp_path: Path) -> None:
    """It is named, and nothing is written."""
    theirs = tmp_path / "slo-a.yml"
    theirs.write_bytes(b"\xff")
    with pytest.raises(OperationError, match=re.escape(str(theirs))):
        changes(tmp_path, {"slo-a.yml": MARK, "slo-b.yml": MARK})
    assert theirs.read_bytes() == b"\xff"
