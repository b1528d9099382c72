"""The result of folding traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consumer.decode.rows import Row


@dataclass(frozen=True, slots=True)
class FoldedTraces:
    """The result of folding traces, after the commit.

    :param inserted: new dialogues
    :param outcomes: the number of traces, by outcome and reason
    :param reasons: the number of dead letters, by reason
    :param is_last: whether no other trace is due
    """

    inserted: Sequence[Row] = ()
    outcomes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    is_last: bool = True
