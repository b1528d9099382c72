"""Tests objectives: the built-in ones, a user's file, and how a day is judged."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from consumer.errors import YamlFileError
from consumer.ingest.slo import DEFAULT_OBJECTIVES, Objective, judge, load

DAY: dict[str, Any] = {
    "citation_rate": Decimal("70.01"),
    "latency_p50": 900.0,
    "latency_p95": 3000.0,
    "latency_p99": 9000.5,
    "total_cost": Decimal("120.50"),
    "cost_per_answer": Decimal("10.01"),
    "avg_relevance_score": None,
    "feedback_positive": 17,
    "feedback_neutral": 1,
    "feedback_negative": 2,
    "ingest_delay_p95": 60.25,
}
FILE = """
objectives:
  - {name: fast, figure: latency_p99, operator: "<", target: 9000.5}
  - name: cheap
    figure: total_cost
    operator: <=
    target: "120.50"
"""


def objective(**changes: Any) -> Objective:
    """Return an objective that the day meets."""
    return Objective(**{"name": "x", "figure": "citation_rate", "operator": ">", "target": 70, **changes})


def test_the_built_in_objectives_judge_a_day() -> None:
    """There is one member for each objective: target, operator, actual value, and whether it is met."""
    assert judge(DEFAULT_OBJECTIVES, DAY) == {
        "citation_rate": {"target": 70.0, "operator": ">", "actual": Decimal("70.01"), "met": True},
        "latency_p95": {"target": 3000.0, "operator": "<=", "actual": 3000.0, "met": True},
        "cost_per_answer": {"target": 10.0, "operator": "<=", "actual": Decimal("10.01"), "met": False},
        "negative_feedback": {"target": 10.0, "operator": "<=", "actual": 10.0, "met": True},
        "freshness": {"target": 60.0, "operator": "<=", "actual": 60.25, "met": False},
    }


@pytest.mark.parametrize(
    ("operator", "target", "met"),
    [(">", "70.01", False), (">=", "70.01", True), ("<", "70.01", False), ("<=", "70.01", True), (">", "70.0", True)],
)
def test_the_operators_are_exact_at_the_target(operator: Any, target: str, met: bool) -> None:
    """Decimals are compared as decimals."""
    assert objective(operator=operator, target=target).judge(DAY)["met"] is met


def test_a_figure_without_a_value_is_neither_met_nor_missed() -> None:
    """The day has no score, or no user has given a verdict."""
    assert objective(figure="avg_relevance_score").judge(DAY)["met"] is None
    silent = {**DAY, "feedback_positive": 0, "feedback_neutral": 0, "feedback_negative": 0}
    judged = objective(figure="negative_feedback_rate").judge(silent)
    assert (judged["actual"], judged["met"]) == (None, None)


def test_without_a_file_the_built_in_objectives_apply() -> None:
    """No configuration is needed."""
    assert load(None) == DEFAULT_OBJECTIVES


def test_a_file_replaces_them(tmp_path: Path) -> None:
    """The file replaces all of them."""
    file = tmp_path / "slo.yaml"
    file.write_text(FILE)
    judged = judge(load(file), DAY)
    assert {name: verdict["met"] for name, verdict in judged.items()} == {"fast": False, "cheap": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "objectives"),
        (b"objectives: []", "objectives"),
        (b"objectives: 5", "objectives"),
        (b"- a", "file.yaml"),
        (b"objectives:\n- {name: x}", "figure"),
        (b"objectives: [{name: X, figure: citation_rate, operator: '>', target: 1}]", "name"),
        (b"objectives: [{name: x, figure: latency_p42, operator: '>', target: 1}]", "figure"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '=', target: 1}]", "operator"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '>', target: many}]", "target"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '>', target: .nan}]", "target"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '>', target: yes}]", "must be a number"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '>', target: 1e99}]", "target"),
        (b"objectives:\n- name: x\n  name: y", "line 3: name is a duplicate key"),
        (b"objectives:\n- {? [a]: b}", "line 2"),
        (b"objectives: &again [*again]", "refers to itself"),
        (b"objectives: [{name: x, figure: citation_rate, operator: '>', target: 1, extra: 1}]", "extra"),
        (b"objectives: [", "file.yaml"),
        (b"objectives: !!python/object:os.system []", "file.yaml"),
        (b"\xff\xfe", "file.yaml"),
    ],
)
def test_a_wrong_file_stops_the_start_and_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    """The message names the file and the fault."""
    file = tmp_path / "file.yaml"
    file.write_bytes(content)
    with pytest.raises(YamlFileError, match=r"file\.yaml") as caught:
        load(file)
    assert said in str(caught.value)


def test_every_fault_is_reported_with_its_line(tmp_path: Path) -> None:
    """The message has the line, the path in the file, and the allowed values. Correct entries are not mentioned."""
    file = tmp_path / "slo.yaml"
    file.write_text(FILE.replace("operator: <=", "operator: =<").replace('target: "120.50"', "goal: 1"))
    with pytest.raises(YamlFileError) as caught:
        load(file)
    assert str(caught.value).splitlines() == [
        f"{file}, line 6: objectives[1].operator: must be '>', '>=', '<' or '<='",
        f"{file}, line 4: objectives[1].target: is missing",
        f"{file}, line 7: objectives[1].goal: there is no such key",
    ]


def test_the_number_of_objectives_is_limited(tmp_path: Path) -> None:
    """Each objective is a series of a metric, so their number is limited."""
    file = tmp_path / "slo.yaml"
    line = "- {name: n%d, figure: citation_rate, operator: '>', target: 1}"
    file.write_text("objectives:\n" + "\n".join(line % number for number in range(51)))
    with pytest.raises(YamlFileError, match="50 objectives at most"):
        load(file)


def test_two_objectives_of_one_name_are_an_error(tmp_path: Path) -> None:
    """There is one member and one series for each name, so one objective would hide the other."""
    file = tmp_path / "file.yaml"
    one = "{name: x, figure: citation_rate, operator: '>', target: 1}"
    file.write_text(f"objectives: [{one}, {one.replace('1', '2')}]")
    with pytest.raises(YamlFileError, match="x"):
        load(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The built-in objectives are not used instead."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(YamlFileError, match="cannot be read"):
            load(path)
