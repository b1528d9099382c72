"""Tests the comparison: it has to detect every kind of damage."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults.audit import compare, read_committed
from tests.faults.lab import Lab
from tests.faults.scene import Scene, set_scene

pytestmark = pytest.mark.timeout(180)

LOST_ROW = "DELETE FROM provenance WHERE id = (SELECT id FROM provenance LIMIT 1) RETURNING id"
LOST_LETTER = "DELETE FROM dead_letters WHERE id = (SELECT max(id) FROM dead_letters) RETURNING id"
UNSENT_ROW = """
    INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used)
    VALUES (gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm') RETURNING id
"""
SECOND_LETTER = """
    INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, key, reason)
    SELECT topic, partition, record_offset + 1000000, record_timestamp, key, reason FROM dead_letters LIMIT 1
    RETURNING id
"""
MISCOUNTED = """
    UPDATE ingest_ledger SET inserted = inserted - 1, duplicates = duplicates + 1
    WHERE ctid = (SELECT ctid FROM ingest_ledger WHERE inserted > 0 LIMIT 1) RETURNING topic
"""


def test_the_comparison_detects_damage(lab: Lab, tmp_path: Path, seed: int) -> None:
    """A missing row, a missing dead letter, an extra one of each, a count that is off by one: the scenario fails."""
    with pytest.raises(AssertionError, match=r"lost=2, stored_twice=\d+, unaccounted=\d+, never_sent=1"):
        run_and_damage(lab, tmp_path, seed)


def run_and_damage(lab: Lab, directory: Path, seed: int) -> None:
    """Run a scenario without a fault, and damage the tables before its end."""
    with set_scene(lab, directory, seed, replicas=1) as scene:
        scene.observer.wait_for_more(600)
        assert scene.come_to_rest().is_exact
        scene.held = Counter(read_committed(lab.bootstrap_servers, scene.environment.topics).values())
        for damage, figure in ((LOST_ROW, "lost"), (LOST_LETTER, "lost"), (UNSENT_ROW, "never_sent")):
            assert findings_after(scene, damage, figure) == 1
        for damage, figure in ((SECOND_LETTER, "stored_twice"), (MISCOUNTED, "unaccounted")):
            assert findings_after(scene, damage, figure) > 0


def findings_after(scene: Scene, damage: str, figure: str) -> int:
    """Return the additional findings after the damage."""
    assert scene.held is not None
    before = asdict(compare(scene.environment, scene.held))
    scene.environment.query(damage)
    found: int = asdict(compare(scene.environment, scene.held))[figure]
    return found - int(before[figure])
