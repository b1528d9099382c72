"""What traces became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.decode.rows import Row


@dataclass(frozen=True, slots=True)
class FoldedTraces:
    """What traces became, once committed.

    :param inserted: new dialogues
    :param outcomes: how many traces, by what became of them and why
    :param reasons: how many dead letters, by reason
    :param is_last: whether no other trace is due
    """

    inserted: Sequence[Row] = ()
    outcomes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    is_last: bool = True
