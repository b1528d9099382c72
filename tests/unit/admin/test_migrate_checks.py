"""Tests the comparison of the database with the expected schema."""

from dataclasses import replace

import pytest

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check, Column, Facts, compare

GOOD = Facts(
    tables=dict.fromkeys(expected.COLUMNS, "a comment"),
    columns={
        table: {name: Column(type_, "a comment") for name, type_ in columns.items()}
        for table, columns in expected.COLUMNS.items()
    },
    indexes={(table, name): True for name, table in expected.INDEXES.items()},
    enums=expected.ENUMS,
    constraints={(table, name): True for name, table in expected.CONSTRAINTS.items()},
    triggers={table: (name,) for table, name in expected.TRIGGERS.items()},
    foreign_keys_recorded=False,
    views=dict.fromkeys(expected.VIEWS, True),
)
FOREIGN_KEYS = {(table, name): True for name, table in expected.FOREIGN_KEYS.items()}


def failed(facts: Facts) -> list[Check]:
    return [check for check in compare(facts) if not check.ok]


def test_a_database_as_it_should_be() -> None:
    """Every check passes, and the foreign keys are optional."""
    assert failed(GOOD) == []
    details = {check.name: check.detail for check in compare(GOOD)}
    assert details["foreign key fk_ai_dialogue_user"] == "optional, not applied"


def test_an_empty_database_fails_every_check_but_the_optional_ones() -> None:
    """No check passes by accident in an empty database."""
    checks = list(compare(Facts({}, {}, {}, {}, {}, {}, foreign_keys_recorded=False, views={})))
    assert [check.name for check in checks if check.ok] == [
        "foreign key fk_ai_dialogue_user",
        "foreign key fk_provenance_content",
        "foreign key fk_provenance_acquired_by",
        "partitions of ai_dialogue_log",
    ]


@pytest.mark.parametrize(
    ("facts", "name", "detail"),
    [
        (
            replace(GOOD, indexes={**GOOD.indexes, ("provenance", "idx_provenance_source"): False}),
            "index idx_provenance_source",
            "invalid, its build did not finish",
        ),
        (
            replace(GOOD, views={"source_usability": False, "answers_citing_unusable_sources": True}),
            "view source_usability",
            "runs with the rights of its owner",
        ),
        (
            replace(GOOD, enums={**GOOD.enums, "content_type": ("material",)}),
            "enum content_type",
            "material instead of material, creation_log",
        ),
        (
            replace(GOOD, triggers={**GOOD.triggers, "provenance": ("a", "update_provenance_updated_at")}),
            "trigger on provenance",
            "a, update_provenance_updated_at instead of only update_provenance_updated_at",
        ),
        (
            replace(GOOD, constraints={**GOOD.constraints, ("ingest_ledger", "ingest_ledger_balanced"): False}),
            "constraint ingest_ledger_balanced",
            "not validated",
        ),
        (
            replace(GOOD, tables={**GOOD.tables, "provenance": None}),
            "comments of provenance",
            "none on the table itself",
        ),
        (
            replace(GOOD, columns={**GOOD.columns, "touched_days": {"id": Column("bigint not null", "a comment")}}),
            "columns of touched_days",
            "day is missing instead of date not null; touched_at is missing",
        ),
    ],
)
def test_each_defect_is_named(facts: Facts, name: str, detail: str) -> None:
    """A defect fails its own check, whose detail names it."""
    found = {check.name: check.detail for check in failed(facts)}
    assert detail in found[name]


def test_additional_columns_are_not_a_defect() -> None:
    """An application may add columns of its own."""
    more = {**GOOD.columns["provenance"], "mine": Column("text", None)}
    assert failed(replace(GOOD, columns={**GOOD.columns, "provenance": more})) == []


@pytest.mark.parametrize(
    ("recorded", "constraints", "wrong"),
    [
        (True, {}, 3),
        (True, FOREIGN_KEYS, 0),
        (False, FOREIGN_KEYS, 0),
        (False, {("provenance", "fk_provenance_content"): True}, 2),
        (True, FOREIGN_KEYS | {("provenance", "fk_provenance_content"): False}, 1),
    ],
)
def test_foreign_keys_are_checked_if_they_were_applied(
    recorded: bool, constraints: dict[tuple[str, str], bool], wrong: int
) -> None:
    """If they are recorded, or one exists, then all three must exist and be valid."""
    facts = replace(GOOD, foreign_keys_recorded=recorded, constraints={**GOOD.constraints, **constraints})
    assert len(failed(facts)) == wrong
