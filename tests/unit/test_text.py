"""Text from outside on a line of ours."""

import pytest

from consumer.admin.erasure import as_text
from consumer.cli.output import fail, print_table
from consumer.text import printable, printable_lines

FORGED = "DSR-1\nDeleted\n\x1b[2K\u202e"
ESCAPED = "DSR-1\\nDeleted\\n\\x1b[2K\\u202e"


def test_what_is_no_visible_character_is_escaped() -> None:
    """Visible text of any script stays."""
    assert printable(FORGED) == ESCAPED
    assert printable("früh ✓ 早い") == "früh ✓ 早い"
    assert printable_lines("a\nb\r") == "a\nb\\r"


def test_a_receipt_has_no_line_that_its_reference_made() -> None:
    """Whoever files it must be able to believe it."""
    document = {
        "receipt": "receipt",
        "reference": FORGED,
        "user": {"key_id": "k", "hmac_sha256": "h"},
        **{part: [] for part in ("deleted", "kept_without_the_user", "kept", "days_recomputed", "out_of_reach")},
    }
    lines = as_text(document).splitlines()
    assert f"reference: {ESCAPED}" in lines
    assert lines.count("Deleted") == 1


def test_tables_and_errors_escape_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    """Names of owners and topics, and texts of errors, come from elsewhere."""
    print_table("T", ("a", "b"), [(FORGED, 1)])
    with pytest.raises(BaseException):  # noqa: B017 - typer's Exit
        fail(FORGED)
    shown = capfd.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\u202e" not in shown.out + shown.err
