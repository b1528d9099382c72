"""Service level objectives: what the figures of a day should be. PURE, except for reading the file."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from consumer.events.kind import path_text
from consumer.settings.given import shown_path
from consumer.settings.yaml_positions import Document, YamlError, parse

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


class SloFileError(Exception):
    """The file of objectives is missing or wrong; the message says where."""


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

    :raises SloFileError: the file is missing or wrong
    """
    if path is None:
        return DEFAULT_OBJECTIVES
    try:
        document = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SloFileError(f"{shown_path(path)}: cannot be read: {getattr(error, 'strerror', error)}") from None
    except YamlError as error:
        raise SloFileError(f"{path}: not YAML: {error}") from None
    try:
        return _File.model_validate(document.value or {}).objectives
    except ValidationError as error:
        raise SloFileError("\n".join(_explain(path, document, problem) for problem in _faults(error))) from None


def _faults(error: ValidationError) -> Sequence[Any]:
    """Where single objectives are wrong, it says nothing that none is left."""
    faults = error.errors()
    return [fault for fault in faults if fault["type"] != "too_short"] or faults


def _explain(path: Path, document: Document, problem: Any) -> str:
    """The line, the path within the file, and what is wrong: slo.yaml, line 7: objectives[1].operator: …"""
    place = path_text(problem["loc"])
    text = _SAYS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "must be")
    return f"{path}, line {document.line(problem['loc'])}: {f'{place}: ' if place else ''}{text}"


_SAYS = {
    "missing": "is missing",
    "extra_forbidden": "there is no such key",
    "model_type": "must be a mapping with keys",
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
