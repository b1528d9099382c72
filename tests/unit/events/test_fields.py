"""Tests text, UUIDs, booleans, enums and JSON: the values that each kind of field accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from pydantic_core import PydanticCustomError

from consumer.events.fields import check_storable
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import accept, dialogue, paths, provenance, reject, with_raw
from tests.support.strategies import texts

BARE = "0190b6f27c3e7a1b8c4d5e6f70819203"


# ── text ──


@given(texts(longest=200))
def test_text_is_stored_to_the_last_character(text: str) -> None:
    """Any text that PostgreSQL can hold is stored unchanged, with its escapes decoded."""
    row = accept(dialogue(query=text, response=text + "!"))
    assert (row["query"], row["response"]) == (text, text + "!")


@pytest.mark.parametrize("escaped", [r"\u00e9", r"\ud83d\ude00", r"\/", r"\\u0000", r"a\tb\n\"", r"\u007f"])
def test_escapes_are_undone(escaped: str) -> None:
    """Every escape of JSON gives its character, and an escaped backslash gives one backslash."""
    expected = {r"\u00e9": "é", r"\ud83d\ude00": "😀", r"\/": "/", r"\\u0000": "\\u0000", r"\u007f": "\x7f"}
    row = accept(with_raw(dialogue(), query=f'"{escaped}"'))
    assert row["query"] == expected.get(escaped, 'a\tb\n"')


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["q"]])
def test_text_is_a_string(value: object) -> None:
    """No other type is converted to text."""
    assert str(reject(dialogue(query=value))) == "query: must be a string"
    assert str(reject(dialogue(model_used=value))) == "model_used: must be a string"


@pytest.mark.parametrize("name", ["user_id", "session_id", "query", "response", "model_used"])
def test_null_is_absent(name: str) -> None:
    """A required field with null is missing."""
    rejected = reject(dialogue(**{name: None}))
    assert (rejected.reason, str(rejected)) == (Reason.MISSING_FIELD, f"{name}: required, but missing")


def test_empty_text_is_text() -> None:
    """An empty question is accepted. Only model_used needs a character."""
    row = accept(dialogue(query="", response=""))
    assert (row["query"], row["response"]) == ("", "")


@pytest.mark.parametrize("model", ["m", "x" * 101, "x" * 255, "モ" * 255, "😀" * 255])
def test_a_model_has_1_to_100_characters(model: str) -> None:
    """Characters are counted as varchar counts them, by code points."""
    assert accept(dialogue(model_used=model))["model_used"] == model


@pytest.mark.parametrize("model", ["", "x" * 256, "😀" * 256])
def test_a_model_name_out_of_bounds_is_rejected(model: str) -> None:
    """The message has the allowed length and the actual one."""
    message = f"model_used: must have 1 to 255 characters, has {len(model)}"
    assert str(reject(dialogue(model_used=model))) == message


# ── NUL and halves of surrogate pairs, at any depth ──

DEEP = '[{"source":"s","x":{"a":[1,{"b":%s}]}}]'
DEEP_KEY = '[{"source":"s","x":{"a":[1,{%s:1}]}}]'


@pytest.mark.parametrize("name", ["query", "response", "model_used"])
def test_a_nul_in_text_is_rejected(name: str) -> None:
    """PostgreSQL's text cannot hold it."""
    for text in (r'"\u0000"', r'"a\u0000b"', r'"\\\u0000"'):
        rejected = reject(with_raw(dialogue(), **{name: text}))
        assert (rejected.reason, paths(rejected)) == (Reason.NUL_CHARACTER, [name])


@pytest.mark.parametrize("template", [DEEP, DEEP_KEY])
def test_a_nul_deep_in_json_is_rejected(template: str) -> None:
    """jsonb cannot hold it either, in a value or in a key, at any depth."""
    rejected = reject(with_raw(dialogue(), citations=template % r'"a\u0000"'))
    assert rejected.reason is Reason.NUL_CHARACTER
    assert paths(rejected)[0].startswith("citations")
    policy = reject(with_raw(provenance(), access_policy=template.strip("[]") % r'"a\u0000"'), PROVENANCE)
    assert (policy.reason, paths(policy)) == (Reason.NUL_CHARACTER, ["access_policy"])


@pytest.mark.parametrize("half", [r'"\ud800"', r'"a\udfffb"', r'"\ude00\ud83d"', r'"\ud800\u0041"'])
def test_half_of_a_surrogate_pair_is_rejected(half: str) -> None:
    """It is no character, so UTF-8 cannot hold it: in text, in JSON values and in JSON keys."""
    rejected = reject(with_raw(dialogue(), query=half))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["query"])
    for template in (DEEP, DEEP_KEY):
        rejected = reject(with_raw(dialogue(), citations=template % half))
        assert rejected.reason is Reason.INVALID_FIELD
        assert paths(rejected)[0].startswith("citations")


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: {"a": 1, inner: 2}])
def test_no_value_is_too_deep_to_be_checked(wrap: Callable[[Any], Any]) -> None:
    """Since Python 3.12, JSON can be nested more deeply than Python functions may call each other."""
    value: Any = wrap("a\0b")
    for _ in range(5000):
        value = [value]
    with pytest.raises(PydanticCustomError) as caught:
        check_storable(value)
    assert caught.value.type == "nul_character"


def test_an_escaped_backslash_before_u0000_is_text() -> None:
    """A backslash followed by u0000 is six characters, not NUL, in text and in JSON."""
    citations = r'[{"source":"\\u0000"}]'
    row = accept(with_raw(dialogue(), query=r'"\\u0000"', citations=citations))
    assert (row["query"], row["citations"]) == (r"\u0000", citations.encode())


# ── UUIDs ──


@pytest.mark.parametrize("text", [BARE, BARE.upper(), str(UUID(BARE)), str(UUID(BARE)).upper()])
def test_a_uuid_in_each_spelling(text: str) -> None:
    """It may have hyphens or not, in either case."""
    assert accept(dialogue(user_id=text))["user_id"] == UUID(BARE)


NO_UUIDS = ["", "x", BARE[:-1], BARE + "0", "{" + str(UUID(BARE)) + "}", "urn:uuid:" + BARE, BARE + "\n", " " + BARE]
NO_UUIDS += [BARE[:8] + "-" + BARE[8:], BARE.replace("0", "O"), "\u0660" * 32]


@pytest.mark.parametrize("value", [*NO_UUIDS, 1, True, [], {}])
def test_a_value_that_is_not_a_uuid_is_rejected(value: object) -> None:
    """All other values are errors of the field."""
    rejected = reject(dialogue(session_id=value, id=value))
    assert rejected.reason is Reason.INVALID_FIELD
    assert paths(rejected) == ["id", "session_id"]


# ── booleans, enums, objects ──


@pytest.mark.parametrize("value", [1, 0, "true", "yes", "", [], {}])
def test_a_consent_is_true_or_false(value: object) -> None:
    """It must not be guessed from "yes" or 1."""
    rejected = reject(provenance(external_share_consent=value, permission_flag=value), PROVENANCE)
    assert paths(rejected) == ["external_share_consent", "permission_flag"]
    assert "external_share_consent: must be true or false" in str(rejected)


@pytest.mark.parametrize("value", ["Material", "video", "", 1, True, ["material"], {}])
def test_an_enum_takes_its_values_only(value: object) -> None:
    """The message lists the allowed values."""
    rejected = reject(provenance(content_type=value), PROVENANCE)
    expected = "content_type: must be one of material, creation_log, generated, note_article, ai_response"
    assert str(rejected) == expected


@pytest.mark.parametrize("value", [[], "{}", 1, True, "x"])
def test_an_access_policy_is_an_object(value: object) -> None:
    """Arrays and strings are rejected."""
    assert str(reject(provenance(access_policy=value), PROVENANCE)) == "access_policy: must be an object"
