"""From the bytes of a JSON object to Python values, without loss.

Two parsers have to agree. The standard library's gives values with every number as a Decimal, so that rounding happens
once, at the column's scale; msgspec's gives the members that become jsonb as the very bytes they came in, because
parsing and printing again changes them (1.10 would become 1.1).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NoReturn

import msgspec

from consumer.events.numbers import exact
from consumer.events.rejection import Reason, Rejected


def parse(value: bytes) -> dict[str, Any]:
    """The members of the JSON object in `value`; numbers as Decimal.

    :raises Rejected: it is not UTF-8, not JSON, or not an object
    """
    try:
        payload = json.loads(value.decode(), parse_float=exact, parse_int=exact, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise _not_json(f"not UTF-8: byte {error.start} cannot be decoded") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise _not_json("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise _not_json(f"not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise _not_json("JSON, but not an object")
    return payload


def parse_scalar(value: bytes) -> Any:
    """One JSON value; numbers as Decimal.

    :raises ValueError: it is not JSON
    """
    return json.loads(value, parse_float=exact, parse_int=exact, parse_constant=_constant)


def raw_members(value: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named members of the JSON object in `value`, each as the bytes it came in; absent ones are left out.

    :raises Rejected: it is not JSON in the eyes of the second parser
    """
    try:
        found = _decoder(names).decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(f"not JSON: {error}") from None
    except RecursionError:
        raise _not_json("not JSON that can be read: nested too deeply") from None
    members = ((name, getattr(found, name)) for name in names)
    return {name: bytes(raw) for name, raw in members if raw is not msgspec.UNSET}


@cache
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    members = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in names]
    return msgspec.json.Decoder(msgspec.defstruct("RawMembers", members))


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _not_json(problem: str) -> Rejected:
    return Rejected.whole(Reason.NOT_JSON, problem)
