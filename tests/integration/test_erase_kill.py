"""Tests `ragledger erase` with a kill at every step: repeated, it finishes, and the receipt counts everything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.erasing import KEY, add_dialogues, add_letters, spellings, tables_with_user
from tests.support.ingestion import ids
from tests.support.notices import ALICE, BOB, acquired, insert, run_killed
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.slow

MOST_STEPS = 150


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database without Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)


def total(receipt: Any, name: str) -> int:
    """Return the totals of this erasure and earlier ones of the user."""
    lines = [*receipt["deleted"], *receipt["kept_without_the_user"]]
    this = next(line["count"] for line in lines if line["name"] == name)
    return int(this + sum(earlier[name] for earlier in receipt["earlier_erasures"]))


@pytest.mark.timeout(600)
def test_after_a_kill_at_any_step_nothing_is_left_or_counted_twice(environment: Environment, tmp_path: Path) -> None:
    """SIGKILL comes at each step in turn, and each attempt continues after the previous one, until one finishes."""
    stays = set(add_dialogues(environment.dsn, BOB, "2026-01-01 09:00"))
    arguments = ("erase", "--user", str(ALICE), "--receipt", str(tmp_path))
    letters = 0
    for step in range(1, MOST_STEPS):
        add_dialogues(environment.dsn, ALICE, "2026-01-01 10:00", f"2026-01-{step % 5 + 1:02} 10:00")
        letters += len(add_letters(environment.dsn, spellings(ALICE)[:2]))
        insert(environment.dsn, acquired(2, ALICE))
        if run_killed(environment, step, *arguments) == 0:
            break
    else:
        pytest.fail(f"an erasure has more than {MOST_STEPS} steps")
    assert step > 20
    receipt = environment.run_json(*arguments)
    wanted = {"dialogues": 2 * step, "dead_letters": letters, "provenance": 2 * step}
    assert {name: total(receipt, name) for name in wanted} == wanted
    assert_gone(environment, ALICE)
    assert ids(environment) == stays
    assert environment.value("SELECT count(*) FROM erasures WHERE finished_at IS NULL") == 0


def assert_gone(environment: Environment, user: UUID) -> None:
    """Assert that no row names the user, and that the days match their rows."""
    assert tables_with_user(environment, user) == []
    wrong = environment.query(
        "SELECT date FROM rag_metrics_history AS history WHERE total_dialogues <>"
        " (SELECT count(*) FROM ai_dialogue_log WHERE created_at::date = history.date::date)"
    )
    assert wrong == []
