"""Objectives: what a day is held against. PURE, but for reading the file."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from consumer.events.kind import path_text

Operator = Literal[">", ">=", "<", "<="]
Figure = Literal[
    "citation_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "total_cost",
    "cost_per_answer",
    "avg_relevance_score",
    "negative_feedback_rate",
]

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class SloFileError(Exception):
    """The file of objectives is missing or wrong; the message says where."""


class Objective(BaseModel):
    """One objective: a figure of the day, and what it has to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    figure: Figure
    operator: Operator
    target: Annotated[Decimal, Field(allow_inf_nan=False)]

    def judge(self, day: Mapping[str, Any]) -> dict[str, Any]:
        """How `day` (a row of rag_metrics_history) stands; `met` is None where the figure has no value."""
        actual = figure(self.figure, day)
        met = None if actual is None else _COMPARE[self.operator](actual, self.target)
        return {
            "target": float(self.target),
            "operator": self.operator,
            "actual": None if actual is None else float(actual),
            "met": met,
        }


DEFAULT_OBJECTIVES: Sequence[Objective] = (
    Objective(name="citation_rate", figure="citation_rate", operator=">", target=Decimal(70)),
    Objective(name="latency_p95", figure="latency_p95", operator="<=", target=Decimal(3000)),
    Objective(name="cost_per_answer", figure="cost_per_answer", operator="<=", target=Decimal(10)),
    Objective(name="negative_feedback", figure="negative_feedback_rate", operator="<=", target=Decimal(10)),
)


def figure(name: Figure, day: Mapping[str, Any]) -> Decimal | float | None:
    """A figure of the day; the share of negative feedback (percent of verdicts given) is the one not in a column."""
    if name != "negative_feedback_rate":
        value: Decimal | float | None = day[name]
        return value
    given = day["feedback_positive"] + day["feedback_neutral"] + day["feedback_negative"]
    return Decimal(100 * day["feedback_negative"]) / given if given else None


def judge(objectives: Sequence[Objective], day: Mapping[str, Any]) -> dict[str, Any]:
    """The `slo_compliance` of a day: one member per objective."""
    return {objective.name: objective.judge(day) for objective in objectives}


def load(path: Path | None) -> Sequence[Objective]:
    """The objectives in a YAML file (``objectives:`` and a list), or the built-in ones.

    :raises SloFileError: the file is missing or wrong
    """
    if path is None:
        return DEFAULT_OBJECTIVES
    try:
        content = yaml.safe_load(path.read_bytes())
        return _File.model_validate(content or {}).objectives
    except OSError as error:
        raise SloFileError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise SloFileError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        raise SloFileError("\n".join(f"{path}: {_explain(problem)}" for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    place = path_text(problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [objective.name for objective in self.objectives]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"there is more than one objective named {', '.join(doubled)}")
        return self
