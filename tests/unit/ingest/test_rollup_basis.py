"""Tests the basis of the days, which is stored in the database and read by every replica."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from consumer.ingest.rollup_basis import Basis, UnknownBasis
from consumer.ingest.slo import DEFAULT_OBJECTIVES, Objective

TOKYO = Basis("Asia/Tokyo", DEFAULT_OBJECTIVES)
ONE = Objective(name="x", figure="citation_rate", operator=">", target=Decimal("70.10"))


def test_a_stored_basis_is_read_unchanged() -> None:
    """Targets are equal to the last digit. jsonb may change the order of the members."""
    kept = json.dumps([dict(reversed(one.items())) for one in json.loads(Basis("UTC", (ONE,)).json)])
    assert Basis.parse("UTC", kept) == Basis("UTC", (ONE,))
    assert Basis.parse(TOKYO.timezone, TOKYO.json).difference(TOKYO) == ""


def test_a_difference_is_described_in_words() -> None:
    """A different time zone is named. Different objectives are only reported as different."""
    assert TOKYO.difference(Basis("UTC", DEFAULT_OBJECTIVES)) == "the time zone is UTC instead of Asia/Tokyo"
    assert TOKYO.difference(Basis("Asia/Tokyo", (ONE,))) == "the objectives differ"
    assert "and the objectives" in TOKYO.difference(Basis("UTC", (ONE,)))


@pytest.mark.parametrize(
    ("timezone", "objectives"),
    [
        ("UTC", Basis("UTC", (ONE,)).json.replace("citation_rate", "joy")),
        ("UTC", Basis("UTC", (ONE,)).json.replace(">", "~")),
        ("UTC", "{}"),
        ("Mars/Olympus", "[]"),
        ("../etc/passwd", "[]"),
    ],
)
def test_a_basis_of_another_version_may_be_unknown(timezone: str, objectives: str) -> None:
    """This has its own error: the replica then leaves the days to the others."""
    with pytest.raises(UnknownBasis, match=timezone):
        Basis.parse(timezone, objectives)
