"""Defines the shapes of events, and the mixture of producers.

A shape is a habit of a producer: its JSON library, its language, its clock. ADR 0068 describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from consumer.generator.chance import Quantiles


class Numbers(Enum):
    """How a producer writes scores, costs and counts."""

    ROUNDED = "two decimals; latencies in whole milliseconds"
    PRECISE = "floats of full precision, latencies among them; values do not repeat"
    QUOTED = "in strings, with counts, as decimal types and Protobuf's JSON do"


# Bytes of an answer. Most have a few paragraphs, one in a thousand is a document.
TYPICAL: Quantiles = (
    *((0.0, 20), (0.1, 150), (0.5, 700), (0.8, 1_500), (0.95, 3_200), (0.99, 8_000)),
    *((0.999, 40_000), (1.0, 170_000)),
)
# The sizes for a comparison of shapes: every shape has the same number of bytes.
MIDDLE: Quantiles = ((0.0, 300), (1.0, 2_400))
SHORT: Quantiles = ((0.0, 20), (1.0, 120))
LONG: Quantiles = ((0.0, 20_000), (1.0, 170_000))


class Shape(NamedTuple):
    r"""How one producer writes its events.

    :param answer: the distribution of the bytes of an answer
    :param escaped: characters outside ASCII are `\u` escapes, as Python's json writes them; otherwise UTF-8
    :param compact: there is no space after commas and colons
    :param markdown: answers are Markdown with code blocks
    :param offset_minutes: the offset of the producer's clock from UTC; 0 is written as Z
    :param sparse: most optional fields are absent
    :param identified: events have an id; the bench needs it to check the rows
    :param citations: the highest number of citations of an answer
    :param extra_members: citations have members that ragledger does not know
    :param unknown_fields: events have fields that ragledger does not know
    """

    answer: Quantiles = MIDDLE
    escaped: bool = False
    compact: bool = False
    markdown: bool = False
    numbers: Numbers = Numbers.ROUNDED
    offset_minutes: int = 0
    sparse: bool = False
    identified: bool = True
    citations: int = 4
    extra_members: bool = False
    unknown_fields: bool = False


_PLAIN = Shape()
SHAPES: Mapping[str, Shape] = {
    "plain": _PLAIN,
    "escaped": _PLAIN._replace(escaped=True),
    "markdown": _PLAIN._replace(markdown=True),
    "precise": _PLAIN._replace(numbers=Numbers.PRECISE),
    "quoted": _PLAIN._replace(numbers=Numbers.QUOTED),
    "offset": _PLAIN._replace(offset_minutes=540),
    "sparse": _PLAIN._replace(sparse=True),
    "anonymous": _PLAIN._replace(identified=False),
    "cited": _PLAIN._replace(citations=8, extra_members=True),
    "unknown": _PLAIN._replace(unknown_fields=True),
    "short": _PLAIN._replace(answer=SHORT),
    "long": _PLAIN._replace(answer=LONG),
}
"""The shapes by name. Each differs from `plain` in one property."""

_ANY = Shape(TYPICAL, markdown=True, numbers=Numbers.PRECISE, citations=8)
MIXTURE: Sequence[tuple[float, Shape]] = (
    (0.30, _ANY._replace(escaped=True, extra_members=True)),  # Python, with its default JSON
    (0.25, _ANY._replace(compact=True)),  # TypeScript
    (0.15, _ANY._replace(compact=True, numbers=Numbers.QUOTED, offset_minutes=540)),  # Java, in Tokyo
    (0.15, _ANY._replace(compact=True, markdown=False, extra_members=True)),  # Go
    (0.10, _ANY._replace(numbers=Numbers.ROUNDED, markdown=False, offset_minutes=-210)),  # an older service
    (0.05, _ANY._replace(sparse=True, compact=True)),  # a beginner
)
"""The share of each producer in the mixture."""
