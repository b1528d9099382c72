"""Service level objectives: the targets for the figures of a day. PURE, except for reading the file."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
    "ingest_delay_p95",
]
_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


MOST_OBJECTIVES = 50  # each is a series of a metric, and a row on the page
LARGEST_TARGET = Decimal(10) ** 15


class Objective(BaseModel):
    """One objective: a figure of the day, an operator and a target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    figure: Figure
    operator: Operator
    target: Annotated[Decimal, Field(allow_inf_nan=False, ge=-LARGEST_TARGET, le=LARGEST_TARGET)]

    @field_validator("target", mode="before")
    @classmethod
    def _is_a_number(cls, target: Any) -> Any:
        if isinstance(target, bool):  # YAML reads yes, no, on and off as booleans
            raise ValueError("must be a number")  # noqa: TRY004 - what a validator raises
        return target

    def judge(self, day: Mapping[str, Any]) -> dict[str, Any]:
        """Compare `day` (a row of rag_metrics_history) with the target; `met` is None if the figure has no value."""
        actual = figure(self.figure, day)
        met = None if actual is None else _COMPARE[self.operator](actual, self.target)
        return {"target": self.target, "operator": self.operator, "actual": actual, "met": met}


DEFAULT_OBJECTIVES: Sequence[Objective] = (
    Objective(name="citation_rate", figure="citation_rate", operator=">", target=Decimal(70)),
    Objective(name="latency_p95", figure="latency_p95", operator="<=", target=Decimal(3000)),
    Objective(name="cost_per_answer", figure="cost_per_answer", operator="<=", target=Decimal(10)),
    Objective(name="negative_feedback", figure="negative_feedback_rate", operator="<=", target=Decimal(10)),
    Objective(name="freshness", figure="ingest_delay_p95", operator="<=", target=Decimal(60)),
)


def figure(name: Figure, day: Mapping[str, Any]) -> Decimal | float | None:
    """A figure of the day. The share of negative feedback (percent of all feedback) is computed here."""
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

    :raises YamlFileError: the file is missing or wrong
    """
    if path is None:
        return DEFAULT_OBJECTIVES
    from consumer.events import yaml_file  # with PyYAML, which a service without a file does not need

    return yaml_file.read(path, _File, _SAYS).objectives


_SAYS = {
    "tuple_type": "must be a list of objectives",
    "too_short": "must hold at least one objective",
    "too_long": f"may hold {MOST_OBJECTIVES} objectives at most",
    "string_pattern_mismatch": "must be lower-case letters, digits and underscores, a letter first",
}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=MOST_OBJECTIVES)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [objective.name for objective in self.objectives]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"there is more than one objective named {', '.join(doubled)}")
        return self
