"""Parses the bytes of a JSON object to Python values, without loss.

Every number becomes a Decimal, so that it is rounded only once, to the column's scale. Members for jsonb columns keep
their original text, because parsing and printing would change them (1.10 would become 1.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any, NoReturn

import msgspec

from consumer.events.formats import format_of
from consumer.events.numbers import exact
from consumer.events.rejection import Reason, Rejected

# Half of the depth that the parser can handle from any depth of the call stack. With the interpreter's limit alone, the
# same record could be a row with one Python and a dead letter with another.
MOST_LEVELS = 500

# An unterminated string extends to the end of the text. A search for its end from each quote in it would take too long.
_STRINGS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_SKIPPED = re.compile(r"[ \t\n\r,:]*")


def parse(value: bytes) -> dict[str, Any]:
    """Return the members of the JSON object in `value`, with numbers as Decimal.

    :raises Rejected: `value` is not UTF-8, not JSON, not an object, or nested deeper than :data:`MOST_LEVELS`
    """
    try:
        document = _read(value.decode())
    except ValueError as error:
        raise _not_json(format_of(value) or _in_words(error)) from None
    if not isinstance(document, dict):
        raise _not_json(_instead_of_object(document))
    return document


def _read(text: str) -> Any:
    if _levels(text) > MOST_LEVELS:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    try:
        return _FAST_DECODER.decode(text)
    except InvalidOperation:  # an exponent that Decimal cannot hold
        return _DECODER.decode(text)


def _in_words(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: byte {error.start} cannot be decoded"
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    place = f"line {error.lineno} column {error.colno}"
    if error.msg == "Extra data" and error.doc[error.pos :].lstrip(", \t\r\n")[:1] in ("{", "["):
        return f"several JSON documents: the second begins at {place}; {_ONE_EVENT}"
    return f"not JSON: {error.msg.removesuffix(' at')} at {place}"


def _instead_of_object(document: Any) -> str:
    if isinstance(document, list):
        return f"a JSON array, not an object; {_ONE_EVENT}"
    if isinstance(document, str) and _holds_json(document):
        return "a JSON string that holds JSON: the event was encoded twice; publish the object itself"
    return "JSON, but not an object"


def _holds_json(text: str) -> bool:
    try:
        document = _read(text)
    except ValueError:
        return False
    return _holds_json(document) if isinstance(document, str) else isinstance(document, dict | list)


_ONE_EVENT = "a record holds one event, so publish each as a record of its own"


def _levels(text: str) -> int:
    """Return how deep objects and arrays are nested, or the number of brackets if that is within the limit."""
    most = text.count("[") + text.count("{")
    if most <= MOST_LEVELS:
        return most
    brackets = _outside_of_strings(text).encode().translate(None, _NO_BRACKETS)
    deepest = level = 0
    for start in range(0, len(brackets), _PORTION):
        levels = list(accumulate(map(_STEPS.__getitem__, brackets[start : start + _PORTION]), initial=level))
        deepest, level = max(deepest, max(levels)), levels[-1]
    return deepest


def _outside_of_strings(text: str) -> str:
    """Return the text without its strings. If no quote is escaped, splitting is much faster."""
    return _STRINGS.sub("", text) if "\\" in text else "".join(text.split('"')[::2])


_PORTION = 65_536  # no other thread can run during one call in C
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())


def parse_scalar(value: bytes) -> Any:
    """Return one JSON value, with numbers as Decimal.

    :raises ValueError: `value` is not JSON
    """
    return _DECODER.decode(value.decode())


def raw_members(value: bytes, names: Collection[str]) -> dict[str, bytes]:
    """Return the original bytes of the named members of an object that :func:`parse` accepts.

    Absent members are left out. If a member is duplicate, the last one counts, as in :func:`parse`.
    """
    try:
        members = _RAW_MEMBERS.decode(value)
    except (
        msgspec.MsgspecError,
        RecursionError,
    ):  # msgspec is stricter than the parser, for example about half a surrogate pair
        return _raw_members_slowly(value, names)
    return {name: bytes(members[name]) for name in names if name in members}


def _raw_members_slowly(value: bytes, names: Collection[str]) -> dict[str, bytes]:
    text, found = value.decode(), {}
    place = _after(text, text.index("{") + 1)
    while text[place] != "}":
        name, place = _DECODER.raw_decode(text, place)
        begin = _after(text, place)
        _, end = _DECODER.raw_decode(text, begin)
        if name in names:
            found[name] = text[begin:end].encode()
        place = _after(text, end)
    return found


def _after(text: str, place: int) -> int:
    """Return the next place after white space and the punctuation between members."""
    match = _SKIPPED.match(text, place)
    assert match is not None
    return match.end()


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _not_json(problem: str) -> Rejected:
    return Rejected.whole(Reason.NOT_JSON, problem)


_RAW_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FAST_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_constant)
_DECODER = json.JSONDecoder(parse_float=exact, parse_int=exact, parse_constant=_constant)
