"""Tests escaping of outside text."""

import pytest

from consumer.admin.erasure import as_text
from consumer.cli.output import fail, print_table
from consumer.text import printable, printable_lines

FORGED = "DSR-1\nDeleted\n\x1b[2K\u202e"
ESCAPED = "DSR-1\\nDeleted\\n\\x1b[2K\\u202e"


def test_unprintable_characters_are_escaped() -> None:
    """Visible text in any script is unchanged."""
    assert printable(FORGED) == ESCAPED
    assert printable("früh ✓ 早い") == "früh ✓ 早い"
    assert printable_lines("a\nb\r") == "a\nb\\r"


def test_a_reference_cannot_add_lines_to_a_receipt() -> None:
    """A person must be able to trust the receipt."""
    document = {
        "receipt": "receipt",
        "reference": FORGED,
        "user": {"key_id": "k", "hmac_sha256": "h"},
        **{part: [] for part in ("deleted", "kept_without_the_user", "kept", "days_recomputed", "out_of_reach")},
    }
    lines = as_text(document).splitlines()
    assert f"reference: {ESCAPED}" in lines
    assert lines.count("Deleted") == 1


def test_tables_and_errors_escape_outside_text_too(capfd: pytest.CaptureFixture[str]) -> None:
    """Names of owners and topics, and texts of errors, come from outside."""
    print_table("T", ("a", "b"), [(FORGED, 1)])
    with pytest.raises(BaseException):  # noqa: B017 - typer's Exit
        fail(FORGED)
    shown = capfd.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\u202e" not in shown.out + shown.err
