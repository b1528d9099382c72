"""What `ragledger publish` reads, and what it knows to be in the topic."""

import io

import pytest

from consumer.admin import publish
from consumer.admin.publish import Acknowledged, Validation
from consumer.events.dialogue import DIALOGUE


@pytest.fixture
def validation(monkeypatch: pytest.MonkeyPatch) -> Validation:
    """Of dialogues, with small chunks and short lines."""
    monkeypatch.setattr(publish, "LONGEST", 8)
    monkeypatch.setattr(publish, "CHUNK", 2)
    return Validation(DIALOGUE, "t", now_ms=0, max_record_bytes=5)


def numbers(validation: Validation, content: bytes, end: int | None = None) -> list[list[int]]:
    """The numbers of the lines of each chunk; none of them is right."""
    return [[line.number for line in bad] for good, bad in validation.chunks(io.BytesIO(content), end) if not good]


def test_lines_are_read_chunk_by_chunk_and_long_ones_not_whole(validation: Validation) -> None:
    """Each keeps its number, whatever length those before it have."""
    assert numbers(validation, b"{\n" + b"x" * 8 + b"\n" + b" " * 100 + b"\n\n" + b"y" * 30) == [[1, 2], [3, 5]]


def test_what_was_appended_since_is_not_read(validation: Validation) -> None:
    """Up to the end as it was."""
    assert numbers(validation, b"{\n{\n{\n", end=4) == [[1, 2]]


def test_the_line_to_go_on_from_is_the_first_that_is_in_doubt() -> None:
    """Whatever was acknowledged behind it."""
    lines = Acknowledged()
    for number in (1, 3, 7):
        lines.sending(number)
    lines.settle(1)
    assert (lines.count, lines.in_doubt, lines.next_line) == (1, 2, 1)
    lines.settle(0)
    assert (lines.count, lines.in_doubt, lines.next_line) == (2, 1, 7)
    lines.settle(2)
    assert (lines.in_doubt, lines.next_line) == (0, 8)
