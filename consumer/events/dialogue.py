"""The dialogue event: one answered question, which becomes one row of ai_dialogue_log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Annotated, Any, NamedTuple, NotRequired, Required
from uuid import UUID

from pydantic import FailFast, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict, override

from consumer.events.costs import Pricing
from consumer.events.fields import (
    INT_MAX,
    Currency,
    Field,
    KeyedId,
    Number,
    Text,
    Timestamp,
    Uuid,
    check_storable,
    invalid,
    without_nulls,
)
from consumer.events.kind import Kind

_COUNT = Number(Decimal(0), Decimal(INT_MAX))
_UNIT = Number(Decimal(0), Decimal(1), scale=2)
AMOUNT = Number(Decimal(0), Decimal("999999999999.999999999"), scale=9)
"""An amount of money in any currency. An answer may cost less than a millionth of a dollar."""
# A cosine in binary floating point may exceed its range by less than this scale can express. Only the range check uses
# the rounded number; citations are stored unchanged.
CONFIDENCE = Number(Decimal(0), Decimal(1), scale=6)
# A record of 8 MB may contain four million faulty citations. A list of all of them would take gigabytes.
MOST_FAULTY_CITATIONS = 20


class DialogueFacts(NamedTuple):
    """The values of many dialogues that the metrics need: one column for each of the kind's `facts`."""

    model: Sequence[str]
    citations: Sequence[int | None]
    latency_ms: Sequence[int | None]
    prompt_tokens: Sequence[int | None]
    completion_tokens: Sequence[int | None]
    cost_jpy: Sequence[Decimal | None]
    feedback: Sequence[int | None]


class Citation(TypedDict):
    """One source that an answer cites. Other members are kept unchanged."""

    source: Required[Annotated[str, Text()]]
    title: NotRequired[Annotated[str, Text()]]
    confidence: NotRequired[Annotated[Decimal, CONFIDENCE]]
    timestamp: NotRequired[Annotated[datetime, Timestamp()]]


@dataclass(frozen=True, slots=True)
class Citations(Field):
    """An array of citations. Each is validated with :class:`Citation`; the array is stored unchanged."""

    pg_type = "jsonb"

    def check(self, value: Any, find_faults: Callable[[Any], Any]) -> Any:
        """Validate every citation, and return the array. The bytes of the event are stored, not this value.

        :param find_faults: validates an array citation by citation, and raises the faults
        """
        if not isinstance(value, list):
            raise invalid("must be an array of citations")
        check_storable(value)
        citations = [without_nulls(citation) for citation in value]
        return citations if _are_right()(citations) else find_faults(_until_faulty_enough(citations))

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the array, then each citation under its own path."""
        citations = handler.generate_schema(Sequence[Citation])
        return core_schema.no_info_wrap_validator_function(self.check, citations)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of an array of citations that may have other members."""
        citation = TypeAdapter(Citation).json_schema() | {"additionalProperties": True}
        return {"type": "array", "items": citation}


class StatedCost(TypedDict):
    """The cost of an answer in the currency in which its provider bills."""

    amount: Required[Annotated[Decimal, AMOUNT]]
    currency: Required[Annotated[str, Currency()]]


@dataclass(frozen=True, slots=True)
class Money(Field):
    """An amount and a currency. Other members are ignored."""

    pg_type = "jsonb"  # not a column of the table: both values go to dialogue_costs

    @override
    def parse(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise invalid("must be an object with amount and currency")
        amount, currency = (value.get(name) for name in ("amount", "currency"))
        return {"amount": AMOUNT.parse(amount), "currency": Currency().parse(currency)}

    def check(self, value: Any, find_faults: Callable[[Any], Any]) -> Any:
        """Validate the object, and report each fault under its own path."""
        if not isinstance(value, dict):
            raise invalid("must be an object with amount and currency")
        return find_faults(without_nulls(value))

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the object, then each member under its own path."""
        return core_schema.no_info_wrap_validator_function(self.check, handler.generate_schema(StatedCost))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the object, which may have other members."""
        return TypeAdapter(StatedCost).json_schema() | {"additionalProperties": True}


class Dialogue(TypedDict):
    """The fields of a dialogue event. All but `cost` and `cached_tokens` are columns of ai_dialogue_log."""

    id: NotRequired[Annotated[UUID, Uuid()]]
    user_id: Required[Annotated[UUID, KeyedId("user")]]
    session_id: Required[Annotated[UUID, KeyedId("session")]]
    query: Required[Annotated[str, Text()]]
    response: Required[Annotated[str, Text()]]
    model_used: Required[Annotated[str, Text(shortest=1, longest=255)]]
    created_at: NotRequired[Annotated[datetime, Timestamp()]]
    citations: NotRequired[Annotated[list[Citation], Citations()]]
    latency_ms: NotRequired[Annotated[int, _COUNT]]
    token_cost_jpy: NotRequired[Annotated[Decimal, Number(Decimal(0), Decimal("999999.99"), scale=2)]]
    citation_rate: NotRequired[Annotated[Decimal, Number(Decimal(0), Decimal(100), scale=2)]]
    prompt_tokens: NotRequired[Annotated[int, _COUNT]]
    completion_tokens: NotRequired[Annotated[int, _COUNT]]
    total_tokens: NotRequired[Annotated[int, _COUNT]]
    relevance_score: NotRequired[Annotated[Decimal, _UNIT]]
    user_feedback: NotRequired[Annotated[int, Number(Decimal(-1), Decimal(1))]]
    context_window_size: NotRequired[Annotated[int, _COUNT]]
    temperature: NotRequired[Annotated[Decimal, Number(Decimal(0), Decimal(2), scale=2)]]
    cost: NotRequired[Annotated[StatedCost, Money()]]
    cached_tokens: NotRequired[Annotated[int, _COUNT]]


def _until_faulty_enough(citations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the array up to the last fault to report."""
    if len(citations) <= MOST_FAULTY_CITATIONS:
        return citations
    faulty = (place for place, citation in enumerate(citations) if not _is_right()(citation))
    return citations[: next(islice(faulty, MOST_FAULTY_CITATIONS - 1, None), len(citations)) + 1]


@cache
def _are_right() -> Callable[[Any], bool]:
    return TypeAdapter(Annotated[list[Citation], FailFast()]).validator.isinstance_python


@cache
def _is_right() -> Callable[[Any], bool]:
    return TypeAdapter(Citation).validator.isinstance_python


DIALOGUE = Kind(
    "dialogue",
    "ai_dialogue_log",
    Dialogue,
    facts=(
        "model_used",
        "citations",
        "latency_ms",
        "prompt_tokens",
        "completion_tokens",
        "token_cost_jpy",
        "user_feedback",
    ),
    clock_field="created_at",
    sums={"total_tokens": ("prompt_tokens", "completion_tokens")},
    subject_field="user_id",
    beside=frozenset({"cost", "cached_tokens"}),
    pricing=Pricing(),
)
