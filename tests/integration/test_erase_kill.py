"""`ragledger erase`, killed at every step: repeated, it ends what was begun, and the receipt counts all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.erasing import KEY, add_dialogues, add_letters, spellings, whereabouts
from tests.support.ingestion import ids
from tests.support.notices import ALICE, BOB, acquired, insert, run_killed
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.slow

MOST_STEPS = 150


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """A database alone."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)


def total(receipt: Any, name: str) -> int:
    """What this erasure and the earlier ones of the user have done together."""
    lines = [*receipt["deleted"], *receipt["kept_without_the_user"]]
    this = next(line["count"] for line in lines if line["name"] == name)
    return int(this + sum(earlier[name] for earlier in receipt["earlier_erasures"]))


@pytest.mark.timeout(600)
def test_killed_at_every_step_and_repeated_nothing_is_left_or_counted_twice(
    environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL at one step after the other, each attempt going on where the one before was killed, until one ends."""
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
    """Nothing names the user, and the days are what their rows say."""
    assert whereabouts(environment, user) == []
    wrong = environment.query(
        "SELECT date FROM rag_metrics_history AS history WHERE total_dialogues <>"
        " (SELECT count(*) FROM ai_dialogue_log WHERE created_at::date = history.date::date)"
    )
    assert wrong == []
