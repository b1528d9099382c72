"""Dialogues that an interrupted command has left outside ai_dialogue_log: doctor finds them, and what it says works."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.archives import HOURLY, Interrupted, archived, interrupt, restored
from tests.support.partitions import ALL_ROWS, assert_sound, converted
from tests.support.psql import execute, rows
from tests.support.service import Environment

pytestmark = pytest.mark.timeout(180)


def copies(environment: Environment) -> list[Any]:
    """What doctor finds of copies."""
    return [one for one in environment.run_json("doctor")["findings"] if one["check"] == "copies"]


def follow(environment: Environment, advice: str, **places: str) -> None:
    """Run the command that an advice begins with."""
    command = shlex.split(advice.partition(",")[0].partition(";")[0])
    assert command[0] == "ragledger"
    done = environment.run(*(places.get(word, word) for word in command[1:]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("step", "table", "can_abort"),
    [("copy", "ai_dialogue_log_new", True), ("drop the old table", "ai_dialogue_log_before", False)],
)
def test_a_conversion_that_was_interrupted(filled: str, step: str, table: str, can_abort: bool) -> None:
    """Before and after the tables were exchanged; only before can it be taken back."""

    def told(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    environment = Environment(filled, "127.0.0.1:9", {})
    execute(filled, HOURLY)
    with pytest.raises(Interrupted):
        converted(filled, on_progress=told)
    [found] = copies(environment)
    assert (found["severity"], table in found["found"]) == ("warning", True)
    assert ("--abort" in found["fix"]) == can_abort
    follow(environment, found["fix"])
    assert [one["severity"] for one in copies(environment)] == ["ok"]
    assert_sound(filled)


def test_a_month_whose_return_was_interrupted(hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are in a table that nobody reads, and in the file; it is brought back anew."""
    environment, before = Environment(hourly, "127.0.0.1:9", {}), rows(hourly, ALL_ROWS)
    archived(hourly, tmp_path)
    manifest = tmp_path / "ai_dialogue_log_2026_01.manifest.json"
    with monkeypatch.context() as patch:
        interrupt(patch, "ALTER TABLE ai_dialogue_log_2026_01 DROP")
        with pytest.raises(Interrupted):
            restored(hourly, manifest)
    [found] = copies(environment)
    assert found["severity"] == "error"
    assert "ai_dialogue_log_2026_01, which no query reads: restoring it from its file was interrupted" in found["found"]
    follow(environment, found["fix"], MANIFEST=str(manifest))
    assert [one["severity"] for one in copies(environment)] == ["ok"]
    restored(hourly, tmp_path / "ai_dialogue_log_2026_02.manifest.json")
    assert rows(hourly, ALL_ROWS) == before
