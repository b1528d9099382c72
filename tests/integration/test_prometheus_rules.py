"""The rules as promtool applies them: when each alert fires and when it is silent, and what each record holds."""

from pathlib import Path

import pytest

from tests.support.prometheus import PROMETHEUS, RULE_FILES, RULES, promtool

pytestmark = pytest.mark.slow

TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))


def test_the_rules_are_rules() -> None:
    """promtool finds all of them, and no two that record the same."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert sum(int(line.split()[-3]) for line in said.splitlines() if "SUCCESS" in line) == len(RULES)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_rules_do_what_they_are_meant_to(file: Path) -> None:
    """Every expectation of `promtool test rules` holds."""
    assert "SUCCESS" in promtool("test", "rules", file)


def test_every_file_of_rules_is_tested() -> None:
    """By the file of the same name."""
    assert [file.name for file in RULE_FILES] == [file.name for file in TEST_FILES]
