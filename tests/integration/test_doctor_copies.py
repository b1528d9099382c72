"""Tests dialogues outside ai_dialogue_log after an interrupted command: doctor finds them, and its advice works."""

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
    """Return the doctor's findings about copies."""
    return [one for one in environment.run_json("doctor")["findings"] if one["check"] == "copies"]


def follow(environment: Environment, advice: str, **places: str) -> None:
    """Run the command at the beginning of an advice."""
    command = shlex.split(advice.partition(",")[0].partition(";")[0])
    assert command[0] == "ragledger"
    done = environment.run(*(places.get(word, word) for word in command[1:]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("step", "table", "can_abort"),
    [("copy", "ai_dialogue_log_new", True), ("drop the old table", "ai_dialogue_log_before", False)],
)
def test_an_interrupted_conversion(filled: str, step: str, table: str, can_abort: bool) -> None:
    """It is interrupted before and after the switch; only before it can be aborted."""

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    environment = Environment(filled, "127.0.0.1:9", {})
    execute(filled, HOURLY)
    with pytest.raises(Interrupted):
        converted(filled, on_progress=on_progress)
    [found] = copies(environment)
    assert (found["severity"], table in found["found"]) == ("warning", True)
    assert ("--abort" in found["fix"]) == can_abort
    follow(environment, found["fix"])
    assert [one["severity"] for one in copies(environment)] == ["ok"]
    assert_sound(filled)


def test_an_interrupted_restore(hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are in a table that no query reads, and in the file; the restore starts over."""
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
