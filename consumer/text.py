"""Text from outside, made fit for a line on a terminal or in a file. PURE."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with what is no visible character escaped.

    A newline would pass for a line of ours, an escape sequence could hide or forge what stands around it.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """The same line by line, for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
