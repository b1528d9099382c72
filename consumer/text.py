"""Makes text from outside safe to print. PURE."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with each unprintable character escaped.

    Without this, a newline in the text could imitate a line of ours, and an escape sequence could hide or fake output.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Return the text with each line escaped as in :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
