"""Tests feedback, verification and plugin events: their fields, and the row that each one is about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.rejection import Reason
from tests.support.builders import accept, paths, reject

ID = "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
MOMENT = "2026-01-31T09:30:00+09:00"
NEEDED: dict[Kind, dict[str, Any]] = {
    FEEDBACK: {"dialogue_id": ID, "user_feedback": 1, "given_at": MOMENT},
    VERIFICATION: {"provenance_id": ID, "verified_at": MOMENT},
    PLUGIN: {"name": "wiki", "reported_at": MOMENT},
}
EVERY = pytest.mark.parametrize("kind", NEEDED, ids=lambda kind: kind.name)


@EVERY
def test_the_required_fields_are_sufficient(kind: Kind) -> None:
    """Times become UTC. The row's id is that of the amended row. The event itself counts towards no day."""
    row = accept(NEEDED[kind], kind)
    moments = [row[name] for name in NEEDED[kind] if name.endswith("_at")]
    assert moments == [datetime(2026, 1, 31, 0, 30)]
    assert row.row.created_at is None
    assert row.row.id == (b"\0\0\0\4wiki" if kind is PLUGIN else bytes.fromhex(ID.replace("-", "")))


@EVERY
def test_each_missing_field_is_named(kind: Kind) -> None:
    """A null counts as missing."""
    for name in NEEDED[kind]:
        rejected = reject(NEEDED[kind] | {name: None}, kind)
        assert (rejected.reason, paths(rejected)) == (Reason.MISSING_FIELD, [name])


@pytest.mark.parametrize(
    ("kind", "members", "path"),
    [
        (FEEDBACK, {"user_feedback": 2}, "user_feedback"),
        (FEEDBACK, {"dialogue_id": "x"}, "dialogue_id"),
        (VERIFICATION, {"license_type": "GPL-3.0-only"}, "license_type"),
        (VERIFICATION, {"permission_flag": "yes"}, "permission_flag"),
        (PLUGIN, {"name": ""}, "name"),
        (PLUGIN, {"name": "n" * 256}, "name"),
        (PLUGIN, {"health_status": "fine"}, "health_status"),
        (PLUGIN, {"capabilities": "search"}, "capabilities"),
        (PLUGIN, {"config": [1]}, "config"),
        (PLUGIN, {"config": {"endpoint": 5}}, "config.endpoint"),
        (PLUGIN, {"config": {"timeout_s": 0}}, "config.timeout_s"),
        (PLUGIN, {"config": {"timeout_s": "5"}}, "config.timeout_s"),
        (PLUGIN, {"config": {"languages": ["de", 1]}}, "config.languages[1]"),
        (PLUGIN, {"config": {"languages": "de"}}, "config.languages"),
        (PLUGIN, {"config": {"auth": {"secret_ref": "s"}}}, "config.auth.type"),
        (PLUGIN, {"config": {"auth": {"type": "magic"}}}, "config.auth.type"),
    ],
)
def test_a_wrong_field_is_named(kind: Kind, members: dict[str, Any], path: str) -> None:
    """Each fault is named by its path, including members of a plugin's config."""
    rejected = reject(NEEDED[kind] | members, kind)
    assert paths(rejected) == [path]
    assert all(str(fault).count("Input") == 0 for fault in rejected.faults)


def test_only_the_first_fault_in_a_list_is_named() -> None:
    """A dead letter with millions of faults would be too large for the database."""
    rejected = reject(NEEDED[PLUGIN] | {"config": {"languages": ["de", *[1] * 100_000], "endpoint": 5}}, PLUGIN)
    assert paths(rejected) == ["config.endpoint", "config.languages[1]"]


def test_a_config_is_kept_as_it_came() -> None:
    """Unknown members are kept. A null member counts as missing."""
    config = {"endpoint": None, "timeout_s": 1.50, "auth": {"type": "none", "secret_ref": None}, "mine": [1.10]}
    row = accept(NEEDED[PLUGIN] | {"config": config, "capabilities": ["list"]}, PLUGIN)
    assert row["config"] == b'{"endpoint":null,"timeout_s":1.5,"auth":{"type":"none","secret_ref":null},"mine":[1.1]}'
    assert row["capabilities"] == b'["list"]'
