"""Tests how `ragledger publish` reads lines, and how it tracks acknowledgements."""

import io

import pytest

from consumer.admin import publish
from consumer.admin.publish import Acknowledged, Validation
from consumer.events.dialogue import DIALOGUE


@pytest.fixture
def validation(monkeypatch: pytest.MonkeyPatch) -> Validation:
    """Return a validation of dialogues with small chunks and short lines."""
    monkeypatch.setattr(publish, "LONGEST", 8)
    monkeypatch.setattr(publish, "CHUNK", 2)
    return Validation(DIALOGUE, "t", now_ms=0, max_record_bytes=5)


def line_numbers(validation: Validation, content: bytes, end: int | None = None) -> list[list[int]]:
    """Return the line line_numbers of each chunk; every line is invalid."""
    return [[line.number for line in bad] for good, bad in validation.chunks(io.BytesIO(content), end) if not good]


def test_lines_are_read_in_chunks_and_long_ones_only_in_part(validation: Validation) -> None:
    """Each line keeps its number, however long the earlier ones are."""
    assert line_numbers(validation, b"{\n" + b"x" * 8 + b"\n" + b" " * 100 + b"\n\n" + b"y" * 30) == [[1, 2], [3, 5]]


def test_lines_that_were_appended_later_are_not_read(validation: Validation) -> None:
    """Reading stops at the given end."""
    assert line_numbers(validation, b"{\n{\n{\n", end=4) == [[1, 2]]


def test_the_next_line_is_the_first_unacknowledged_one() -> None:
    """Later acknowledgements do not matter."""
    lines = Acknowledged()
    for number in (1, 3, 7):
        lines.sending(number)
    lines.settle(1)
    assert (lines.count, lines.in_doubt, lines.next_line) == (1, 2, 1)
    lines.settle(0)
    assert (lines.count, lines.in_doubt, lines.next_line) == (2, 1, 7)
    lines.settle(2)
    assert (lines.in_doubt, lines.next_line) == (0, 8)
