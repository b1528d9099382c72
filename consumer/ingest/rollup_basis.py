"""The settings that days are computed with: a business time zone and objectives. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from consumer.ingest.days import BusinessDays
from consumer.ingest.slo import Objective, judge

_OBJECTIVES: TypeAdapter[tuple[Objective, ...]] = TypeAdapter(tuple[Objective, ...])


class UnknownBasis(Exception):
    """Another version of ragledger has stored settings that this version does not understand."""


@dataclass(frozen=True)
class Basis:
    """A business time zone and objectives."""

    timezone: str
    objectives: Sequence[Objective]

    @classmethod
    def parse(cls, timezone: str, objectives: str) -> Basis:
        """Parse the output of :attr:`json`.

        :raises UnknownBasis: a figure, an operator or a time zone that this version does not know
        """
        try:
            basis = cls(timezone, _OBJECTIVES.validate_json(objectives))
            _ = basis.days
        except (ValueError, KeyError):  # KeyError: there is no such time zone
            raise UnknownBasis(
                f"days are kept in {timezone} under objectives that this version does not know"
            ) from None
        return basis

    @property
    def json(self) -> str:
        """The objectives, as the database stores them."""
        return _OBJECTIVES.dump_json(tuple(self.objectives)).decode()

    @cached_property
    def days(self) -> BusinessDays:
        """The days of the time zone."""
        return BusinessDays(self.timezone)

    def judge(self, day: Mapping[str, Any]) -> dict[str, Any]:
        """The `slo_compliance` of a day: one member per objective."""
        return judge(self.objectives, day)

    def difference(self, other: Basis) -> str:
        """The settings in which another basis differs from this one, as a sentence; empty if it does not."""
        differing = []
        if self.timezone != other.timezone:
            differing.append(f"the time zone is {other.timezone} instead of {self.timezone}")
        if self.json != other.json:
            differing.append("the objectives differ")
        return ", and ".join(differing)
