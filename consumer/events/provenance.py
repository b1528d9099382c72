"""The provenance event: one acquired piece of content, which becomes one row of provenance."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NotRequired, Required
from uuid import UUID

from typing_extensions import TypedDict

from consumer.events.fields import INT_MAX, Choice, Flag, JsonObject, KeyedId, Number, Text, Timestamp, Uuid
from consumer.events.kind import Kind

_CREATIVE_COMMONS_VERSIONS = ("1.0", "2.0", "2.5", "3.0", "4.0")


def _spdx_aliases() -> dict[str, str]:
    """Map SPDX identifiers in lower case to enum values. Their case does not matter (SPDX 2.3, annex D.2)."""
    families = {"cc-by": "cc_by", "cc-by-sa": "cc_by_sa", "cc-by-nc": "cc_by_nc", "cc-by-nd": "cc_by_nd"}
    versioned = {f"{spdx}-{number}": value for spdx, value in families.items() for number in _CREATIVE_COMMONS_VERSIONS}
    return versioned | {
        "cc0-1.0": "cc0",
        "mit": "mit",
        "apache-2.0": "apache_2_0",
        "licenseref-proprietary": "proprietary",
        "noassertion": "unknown",
    }


CONTENT_TYPE = Choice("content_type", ("material", "creation_log", "generated", "note_article", "ai_response"))
ACQUISITION_METHOD = Choice(
    "acquisition_method", ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import")
)
LICENSE_TYPE = Choice(
    "license_type",
    (
        "cc0",
        "cc_by",
        "cc_by_sa",
        "cc_by_nc",
        "cc_by_nd",
        "mit",
        "apache_2_0",
        "proprietary",
        "unknown",
    ),
    _spdx_aliases(),
)


class Provenance(TypedDict):
    """The fields of a provenance event, which are columns of provenance."""

    id: NotRequired[Annotated[UUID, Uuid()]]
    content_id: Required[Annotated[UUID, Uuid()]]
    content_type: Required[Annotated[str, CONTENT_TYPE]]
    source_uri: Required[Annotated[str, Text()]]
    license_type: Required[Annotated[str, LICENSE_TYPE]]
    acquisition_method: Required[Annotated[str, ACQUISITION_METHOD]]
    acquired_at: Required[Annotated[datetime, Timestamp()]]
    retention_years: NotRequired[Annotated[int, Number(Decimal(0), Decimal(INT_MAX))]]
    acquired_by: NotRequired[Annotated[UUID, KeyedId("user")]]
    external_share_consent: NotRequired[Annotated[bool, Flag()]]
    permission_flag: NotRequired[Annotated[bool, Flag()]]
    last_verified_at: NotRequired[Annotated[datetime, Timestamp()]]
    access_policy: NotRequired[Annotated[dict[str, Any], JsonObject()]]


PROVENANCE = Kind(
    "provenance", "provenance", Provenance, facts=("content_type", "license_type"), subject_field="acquired_by"
)
