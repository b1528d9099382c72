"""Tests the SQL files and their loader."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from consumer.postgres.queries import load, name_of

CONSUMER = Path(__file__).parents[3] / "consumer"
FILES = [file for file in files("consumer.postgres.queries").iterdir() if file.name.endswith(".sql")]
NAMES = [name for file in FILES for name in re.findall(r"^-- name: (\w+)$", file.read_text(), re.MULTILINE)]


def test_no_name_is_used_for_two_statements() -> None:
    """Only one of them could be loaded."""
    assert len(NAMES) == len(set(NAMES)) > 100


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_statement_has_a_comment_and_is_used(name: str) -> None:
    """The comment says what the statement does. An unused statement must be removed."""
    heading, comment, *_ = load(name).splitlines()
    assert heading == f"-- name: {name}"
    assert comment.startswith("-- ")
    sources = "\n".join(path.read_text() for path in CONSUMER.rglob("*.py"))
    parts = [f'"{name}"', *(f'"{name[:end]}{{' for end in range(1, len(name))), f'}}{name[-9:]}"']
    assert any(part in sources for part in parts)


def test_a_statement_keeps_its_name_in_messages() -> None:
    """It keeps the name even after table names were formatted in."""
    assert name_of(load("make_stage").format(table="t", stage="s", names="n")) == "make_stage"
    assert name_of("COPY provenance") == "COPY provenance"
