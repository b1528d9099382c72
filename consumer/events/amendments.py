"""Events that change the row of another event: feedback on a dialogue, and verification of provenance.

The row may arrive later than the event that changes it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, NotRequired, Required
from uuid import UUID

from typing_extensions import TypedDict

from consumer.events.fields import Flag, Number, Timestamp, Uuid
from consumer.events.kind import Kind
from consumer.events.provenance import LICENSE_TYPE


class Feedback(TypedDict):
    """A user's verdict on an earlier answer. If there are several, the newest by `given_at` counts."""

    dialogue_id: Required[Annotated[UUID, Uuid()]]
    user_feedback: Required[Annotated[int, Number(Decimal(-1), Decimal(1))]]
    given_at: Required[Annotated[datetime, Timestamp()]]


class Verification(TypedDict):
    """A check of provenance. For each field, the newest check by `verified_at` that states it counts."""

    provenance_id: Required[Annotated[UUID, Uuid()]]
    verified_at: Required[Annotated[datetime, Timestamp()]]
    permission_flag: NotRequired[Annotated[bool, Flag()]]
    external_share_consent: NotRequired[Annotated[bool, Flag()]]
    license_type: NotRequired[Annotated[str, LICENSE_TYPE]]


FEEDBACK = Kind("feedback", "ai_dialogue_log", Feedback, facts=("user_feedback",), key="dialogue_id", amends=True)
VERIFICATION = Kind("verification", "provenance", Verification, facts=(), key="provenance_id", amends=True)
