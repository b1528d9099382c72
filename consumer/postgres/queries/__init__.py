"""The SQL of the service, in one file per group of tables. Each statement has a heading `-- name: …` and a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(name: str) -> str:
    """The statement of this name, with its heading and comment."""
    return _statements()[name]


def name_of(statement: str) -> str:
    """The name of a statement for messages, also after `str.format`. If the statement is not from a file, its first
    words.
    """
    heading = _HEADING.match(statement)
    return heading[1] if heading else " ".join(statement.split()[:2])


@cache
def _statements() -> Mapping[str, str]:
    texts = [file.read_text() for file in files(__name__).iterdir() if file.name.endswith(".sql")]
    return dict(pair for text in texts for pair in _split(text))


def _split(text: str) -> Iterator[tuple[str, str]]:
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=True):
        yield heading[1], text[heading.start() : end].strip() + "\n"
