"""Tests the rules with promtool: when each alert fires, and the value of each record."""

from pathlib import Path

import pytest

from tests.support.prometheus import PROMETHEUS, RULE_FILES, RULES, promtool

pytestmark = pytest.mark.slow

TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))


def test_the_rules_are_valid() -> None:
    """promtool reads all of them, and no two have the same name."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert sum(int(line.split()[-3]) for line in said.splitlines() if "SUCCESS" in line) == len(RULES)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_the_rules_give_the_expected_results(file: Path) -> None:
    """Every expectation of `promtool test rules` holds."""
    assert "SUCCESS" in promtool("test", "rules", file)


def test_every_file_of_rules_has_a_test() -> None:
    """It is the file of the same name."""
    assert [file.name for file in RULE_FILES] == [file.name for file in TEST_FILES]
