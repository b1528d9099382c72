"""Tests the provenance event, and licences by our own names and by their SPDX names."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import USER, accept, paths, provenance, reject

FULL = provenance(
    id="0190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    retention_years="7",
    acquired_by=USER,
    external_share_consent=False,
    permission_flag=True,
    last_verified_at="2026-02-01T00:00:00-01:00",
    access_policy={"roles": ["a"]},
)


def test_every_field_is_stored_in_its_column() -> None:
    """Each column is compared as PostgreSQL reads it."""
    assert accept(FULL, PROVENANCE).columns == {
        "id": UUID("0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"),
        "content_id": UUID("33333333-3333-4333-8333-333333333333"),
        "content_type": "material",
        "source_uri": "https://example.org/a",
        "license_type": "mit",
        "acquisition_method": "api_fetch",
        "acquired_at": datetime(2026, 1, 1, 0, 0, 0, 123_000),
        "retention_years": 7,
        "acquired_by": UUID(USER),
        "external_share_consent": False,
        "permission_flag": True,
        "last_verified_at": datetime(2026, 2, 1, 1),
        "access_policy": b'{"roles":["a"]}',
    }


def test_a_missing_field_is_null() -> None:
    """A missing consent is not a rejection."""
    row = accept(provenance(), PROVENANCE)
    absent = {name for name, value in row.columns.items() if value is None}
    assert absent == {
        "retention_years",
        "acquired_by",
        "external_share_consent",
        "permission_flag",
        "last_verified_at",
        "access_policy",
    }


@pytest.mark.parametrize(
    "name", ["content_id", "content_type", "source_uri", "license_type", "acquisition_method", "acquired_at"]
)
def test_a_missing_field_is_rejected_by_its_name(name: str) -> None:
    """acquired_at is required too: the record's timestamp is the time of publishing, not of acquisition."""
    event = provenance()
    del event[name]
    for faulty in (event, {**event, name: None}):
        rejected = reject(faulty, PROVENANCE)
        assert (rejected.reason, paths(rejected)) == (Reason.MISSING_FIELD, [name])


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("cc0", "cc0"),
        ("CC0-1.0", "cc0"),
        ("CC-BY-1.0", "cc_by"),
        ("CC-BY-4.0", "cc_by"),
        ("cc-by-sa-3.0", "cc_by_sa"),
        ("CC-BY-NC-2.5", "cc_by_nc"),
        ("CC-BY-ND-2.0", "cc_by_nd"),
        ("MIT", "mit"),
        ("Mit", "mit"),
        ("Apache-2.0", "apache_2_0"),
        ("APACHE-2.0", "apache_2_0"),
        ("apache_2_0", "apache_2_0"),
        ("LicenseRef-Proprietary", "proprietary"),
        ("proprietary", "proprietary"),
        ("NOASSERTION", "unknown"),
        ("unknown", "unknown"),
    ],
)
def test_a_licence_by_its_value_or_its_spdx_identifier(said: str, stored: str) -> None:
    """SPDX identifiers are compared without case."""
    row = accept(provenance(license_type=said), PROVENANCE)
    assert row["license_type"] == stored
    assert row.row.facts == ("material", stored)


OTHER_LICENCES = ["", "GPL-3.0-only", "Apache-1.1", "CC-BY", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "MIT-0", "MIT "]
OTHER_LICENCES += ["CC_BY", "cc-by-5.0", "MIT OR Apache-2.0", "\uff2dIT", "m\u0131t"]


@pytest.mark.parametrize("value", [*OTHER_LICENCES, 1, True, [], {}])
def test_any_other_licence_is_rejected(value: Any) -> None:
    """A licence without a value of ours must not become another one."""
    rejected = reject(provenance(license_type=value), PROVENANCE)
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["license_type"])
    assert "cc0, cc_by, cc_by_sa" in str(rejected)
    assert "SPDX" in str(rejected)


@pytest.mark.parametrize("years", [-1, "-1", 2_147_483_648, True])
def test_retention_is_not_negative(years: Any) -> None:
    """A negative retention would expire content before it was acquired."""
    assert paths(reject(provenance(retention_years=years), PROVENANCE)) == ["retention_years"]


def test_unknown_fields_are_ignored_and_counted() -> None:
    """Fields of the other kind of event count too."""
    assert accept(provenance(query="q", created_at="x"), PROVENANCE).row.unknown_fields == 2
