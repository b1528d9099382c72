"""The types of fields in the declarations of events, with their validation and their PostgreSQL types.

One declaration serves three purposes: pydantic uses its validator, `schema export` its JSON Schema, and the COPY
encoder and the fast lane its column type. The validators get the values of :func:`consumer.events.payload.parse`, in
which every number is a :class:`~decimal.Decimal`. So nothing is rounded before validation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

from consumer.events import ids, timestamps
from consumer.events.numbers import exact

INT_MAX = 2_147_483_647

# The JSON number grammar (RFC 8259 §6), also for numbers in strings. A leading + and a bare .5 are accepted because
# PostgreSQL accepts them.
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# PostgreSQL's numeric rounds half away from zero.
_MOST_DIGITS = 20
_ROUNDING = Context(prec=2 * _MOST_DIGITS, rounding=ROUND_HALF_UP, Emax=MAX_EMAX, Emin=MIN_EMIN)
_MOST_SCALE = 9  # of an amount of money
_UNITS = [Decimal(1).scaleb(-scale) for scale in range(_MOST_SCALE + 1)]
_ZEROS = [Decimal(0).scaleb(-scale) for scale in range(_MOST_SCALE + 1)]


def invalid(problem: str) -> PydanticCustomError:
    """Return the error that a validator raises. `problem` completes a sentence that begins with the field's path."""
    return PydanticCustomError("invalid_field", cast(Any, "{problem}"), {"problem": problem})


def nul() -> PydanticCustomError:
    """Return the error for text with a NUL character, which PostgreSQL's text and jsonb cannot store."""
    return PydanticCustomError("nul_character", "holds a NUL character (\\u0000), which PostgreSQL cannot store")


class Field:
    """A type of field. A declaration uses it as ``Annotated[python type, Field(...)]``."""

    __slots__ = ()
    pg_type: str

    def parse(self, value: Any) -> Any:
        """Return `value` as the column stores it.

        :raises PydanticCustomError: the value is invalid; the message completes "<path>: …"
        """
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the field (draft 2020-12)."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic call :meth:`parse`."""
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Let pydantic build JSON Schema."""
        return self.json_schema()


@dataclass(frozen=True, slots=True)
class Text(Field):
    """A JSON string of `shortest` to `longest` characters (code points, as varchar counts them)."""

    pg_type = "text"
    shortest: int = 0
    longest: int | None = None

    @override
    def parse(self, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid("must be a string")
        _check_text(value)
        if len(value) < self.shortest or (self.longest is not None and len(value) > self.longest):
            raise invalid(self._limits(len(value)))
        return value

    def _limits(self, length: int) -> str:
        if self.longest is None:
            return f"must have at least {self.shortest} characters, has {length}"
        return f"must have {self.shortest} to {self.longest} characters, has {length}"

    @override
    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        if self.shortest:
            schema["minLength"] = self.shortest
        if self.longest is not None:
            schema["maxLength"] = self.longest
        return schema


@dataclass(frozen=True, slots=True)
class Number(Field):
    """A JSON number, or a string that holds one. It is rounded to `scale` decimals, and then compared with the range.

    PostgreSQL also rounds first: 999999.994 fits numeric(8,2), 999999.995 does not.
    """

    low: Decimal
    high: Decimal
    scale: int = 0

    @property
    def pg_type(self) -> str:  # type: ignore[override]
        """Integer without decimals, numeric with."""
        return "integer" if self.scale == 0 else "numeric"

    @override
    def parse(self, value: Any) -> Decimal | int:
        number = value if isinstance(value, Decimal) else self._number(value)
        # Far out of range even after rounding. quantize would first create all its digits.
        if not number.is_finite() or (number.adjusted() > _MOST_DIGITS and number):
            raise self._out_of_range()
        # A zero loses its sign and its exponent, because PostgreSQL has no negative zero.
        rounded = number.quantize(_UNITS[self.scale], None, _ROUNDING) or _ZEROS[self.scale]
        if not self.low <= rounded <= self.high:
            raise self._out_of_range()
        return rounded if self.scale else int(rounded)

    def _out_of_range(self) -> PydanticCustomError:
        return invalid(f"must be between {self.low} and {self.high}")

    def _number(self, value: Any) -> Decimal:
        if isinstance(value, str) and NUMBER.fullmatch(value):
            return exact(value)
        raise invalid("must be a number, or a string that holds one")

    @override
    def json_schema(self) -> dict[str, Any]:
        limits = {"minimum": _plain(self.low), "maximum": _plain(self.high)}
        return {"anyOf": [{"type": "number", **limits}, {"type": "string", "pattern": f"^{NUMBER.pattern}$"}]}


@dataclass(frozen=True, slots=True)
class Uuid(Field):
    """A UUID in its text form (RFC 9562 §4), with or without hyphens, in either case."""

    pg_type = "uuid"

    @override
    def parse(self, value: Any) -> UUID:
        if not isinstance(value, str) or not ids.UUID_FORM.fullmatch(value):
            raise invalid(_NO_UUID)
        return msgspec.convert(value, UUID)

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True, slots=True)
class KeyedId(Field):
    """The id of a user or a session. It is a UUID or, with a namespace, any other string, which becomes a UUID."""

    pg_type = "uuid"
    owner: ids.Owner
    namespace: UUID | None = None

    @override
    def parse(self, value: Any) -> UUID:
        if self.namespace is not None:
            return ids.id_of(self.owner, self.namespace, _KEY.parse(value))
        try:
            return Uuid().parse(value)
        except PydanticCustomError:
            raise invalid(f"{_NO_UUID}{_NAMESPACE_HINT}" if isinstance(value, str) and value else _NO_UUID) from None

    @override
    def json_schema(self) -> dict[str, Any]:
        if self.namespace is None:
            return Uuid().json_schema() | {"description": "A UUID. With RAGLEDGER_IDS__NAMESPACE set, any string."}
        return _KEY.json_schema() | {"description": "A UUID, or any string, which becomes a UUID of version 5."}


_KEY = Text(shortest=1, longest=ids.LONGEST_KEY)
_NO_UUID = "must be a UUID such as 0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
_NAMESPACE_HINT = "; set RAGLEDGER_IDS__NAMESPACE to accept other ids"


@dataclass(frozen=True, slots=True)
class Currency(Field):
    """The code of a currency (ISO 4217): three letters, stored in upper case."""

    pg_type = "text"

    @override
    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
            raise invalid("must be a currency of three letters, such as USD")
        return value.upper()

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_CURRENCY.pattern}$"}


_CURRENCY = re.compile("[A-Za-z]{3}")


@dataclass(frozen=True, slots=True)
class Timestamp(Field):
    """An RFC 3339 date-time, converted to UTC; without an offset it is UTC."""

    pg_type = "timestamp"

    @override
    def parse(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise invalid("must be a string with an RFC 3339 date-time such as 2026-01-31T09:30:00Z")
        try:
            return timestamps.parse(value)
        except ValueError as error:
            raise invalid(str(error)) from None

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class Flag(Field):
    """A JSON boolean, nothing else: a consent must not be guessed from "yes" or 1."""

    pg_type = "boolean"

    @override
    def parse(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise invalid("must be true or false")
        return value

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Bytes(Field):
    """Bytes that ragledger creates itself. No event contains any."""

    pg_type = "bytea"


@dataclass(frozen=True, slots=True)
class Choice(Field):
    """One of an enum's values. `aliases` maps other spellings, in lower case, to values."""

    pg_type: str
    values: tuple[str, ...]
    aliases: Mapping[str, str] | None = None

    @override
    def parse(self, value: Any) -> str:
        if isinstance(value, str):
            if value in self.values:
                return value
            if self.aliases and value.lower() in self.aliases:
                return self.aliases[value.lower()]
        raise invalid(self._allowed())

    def _allowed(self) -> str:
        spdx = ", or the SPDX identifier of one of them" if self.aliases else ""
        return f"must be one of {', '.join(self.values)}{spdx}"

    @override
    def json_schema(self) -> dict[str, Any]:
        if not self.aliases:
            return {"enum": list(self.values)}
        return {"type": "string", "description": self._allowed().removeprefix("must be ")}


@dataclass(frozen=True, slots=True)
class JsonObject(Field):
    """Any JSON object, stored unchanged."""

    pg_type = "jsonb"

    @override
    def parse(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid("must be an object")
        check_storable(value)
        return value

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}


@dataclass(frozen=True, slots=True)
class JsonObjectOrArray(Field):
    """Any JSON object or array, stored unchanged."""

    pg_type = "jsonb"

    @override
    def parse(self, value: Any) -> dict[str, Any] | list[Any]:
        if not isinstance(value, dict | list):
            raise invalid("must be an object or an array")
        check_storable(value)
        return value

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": ["object", "array"]}


def without_nulls(value: Any) -> Any:
    """Return an object without its null members, which count as absent. Other values are returned unchanged."""
    if not isinstance(value, dict) or None not in value.values():
        return value
    return {name: member for name, member in value.items() if member is not None}


def check_storable(value: Any) -> None:
    """Check that PostgreSQL's text and jsonb can store the value, at any depth, with its keys.

    :raises PydanticCustomError: a NUL character, or half of a surrogate pair
    """
    if isinstance(value, str):
        _check_text(value)
        return
    try:
        if b"\\u0000" not in msgspec.json.encode(value):
            return  # one call for all texts in the value
    except (UnicodeEncodeError, RecursionError):
        pass
    waiting = [value]  # a list instead of recursion: JSON may be nested deeper than Python's call stack
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            _check_text(found)
        elif isinstance(found, dict):
            waiting.extend(found)
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise nul()
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid("holds half of a surrogate pair, which is not a character") from None


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)
