"""What every statement of ours keeps to."""

import re
from pathlib import Path

import pytest

import consumer
from consumer.postgres.queries import load, name_of

FILES = [path for path in Path(consumer.__file__).parent.rglob("*") if path.suffix in (".py", ".sql")]
STATEMENTS = sorted(path.stem for path in FILES if path.parent.name == "queries")


def test_no_conflict_is_resolved_without_saying_on_what() -> None:
    """ON CONFLICT without a target swallows conflicts with every constraint, the owner's own too."""
    without = [path.name for path in FILES if re.search(r"ON CONFLICT\s+DO\b", path.read_text("utf-8"))]
    assert without == []


@pytest.mark.parametrize("name", [one for one in STATEMENTS if one != "__init__"])
def test_a_statement_is_known_by_the_name_of_its_file(name: str) -> None:
    """Whatever was formatted into it: what comes after its first line."""
    first, _, rest = load(name).partition("\n")
    assert "{" not in first
    assert name_of(f"{first}\n{rest.replace('{', '')}") == name


def test_other_statements_are_named_by_their_first_words() -> None:
    """Never by what they may quote."""
    assert name_of("SET CONSTRAINTS ALL IMMEDIATE") == "SET CONSTRAINTS"
    assert name_of("COPY provenance") == "COPY provenance"
