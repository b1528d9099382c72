"""Tests the schema version that the service needs."""

from __future__ import annotations

from consumer.admin.migrate import schema_directory
from consumer.admin.migrate.files import load
from consumer.postgres.schema_check import SCHEMA_VERSION


def test_the_service_needs_the_newest_migration() -> None:
    """The service does not read the migrations; it has the number as a constant."""
    assert load(schema_directory())[-1].version == SCHEMA_VERSION
