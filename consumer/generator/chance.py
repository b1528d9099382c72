"""Random choices that depend on the seed alone.

Python promises the same sequence in every version only for `random.random()`. So this module uses only that function,
and arithmetic that gives the same result on every machine: no logarithms, no exponentials.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar
from uuid import UUID

_Item = TypeVar("_Item")
_BITS = 53  # of one random number

Quantiles = Sequence[tuple[float, float]]
"""A distribution as points: a share from 0 to 1, and the value that this share of all values does not exceed."""


class Chance:
    """A source of random choices."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(seed).random  # noqa: S311 - samples, not secrets

    def happens(self, share: float) -> bool:
        """Return True in this share of all calls."""
        return self.random() < share

    def pick(self, items: Sequence[_Item]) -> _Item:
        """Return one of the items; all are equally likely."""
        return items[int(self.random() * len(items))]

    def picks(self, items: Sequence[_Item], count: int) -> list[_Item]:
        """Return `count` items; an item may occur several times."""
        random, size = self.random, len(items)
        return [items[int(random() * size)] for _ in range(count)]

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def quantile(self, distribution: Quantiles) -> float:
        """Return a number of this distribution, interpolated linearly between its points."""
        share = self.random()
        for (low_share, low), (high_share, high) in pairwise(distribution):
            if share <= high_share:
                return low + (high - low) * (share - low_share) / (high_share - low_share)
        return distribution[-1][1]

    def bits(self, count: int) -> int:
        """Return a number of `count` random bits."""
        value = 0
        for _ in range(-(-count // _BITS)):
            value = value << _BITS | int(self.random() * (1 << _BITS))
        return value & ((1 << count) - 1)

    def random_id(self) -> str:
        """Return a random UUID (version 4)."""
        return _uuid(self.bits(128), 4)

    def timed_id(self, milliseconds: int) -> str:
        """Return a time-ordered UUID (version 7), as recommended to producers: new rows are neighbours in the index.

        :param milliseconds: the time in milliseconds since 1970
        """
        return _uuid(milliseconds << 80 | self.bits(80), 7)


def _uuid(value: int, version: int) -> str:
    return str(UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | version << 76 | 0x2 << 62))
