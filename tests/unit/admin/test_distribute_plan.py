"""Tests the steps of a distribution."""

import pytest

from consumer.admin.distribute.plan import Key, steps


@pytest.mark.parametrize(
    ("key", "is_partitioned", "referred", "wanted"),
    [
        (Key.ID, False, (), []),
        (Key.ID, True, (), ["ids", "months"]),
        (Key.USER, False, (), ["ids", "key"]),
        (Key.USER, True, ("users",), ["references", "ids", "months", "key"]),
    ],
)
def test_the_steps_depend_on_key_months_and_foreign_keys(
    key: Key, is_partitioned: bool, referred: tuple[str, ...], wanted: list[str]
) -> None:
    """The other steps are always the same."""
    names = [step.name for step in steps(key, 4, 2, 1000, is_partitioned, referred)]
    assert [name for name in names if name not in ("lock", "policy", "triggers", "rows", "count")] == wanted
    assert names.index("rows") == len(names) - 2
