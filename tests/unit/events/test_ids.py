"""Tests string ids: each string has one UUID, in any lane and in other libraries too."""

from __future__ import annotations

import json
from uuid import UUID, uuid5

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.admin.contract import json_schema
from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events import ids
from consumer.events.amendments import FEEDBACK
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import SESSION, USER, accept, dialogue, paths, provenance, record, reject
from tests.support.strategies import texts

NAMESPACE = UUID("0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d")
NAMED, NAMED_PROVENANCE = DIALOGUE.under(NAMESPACE), PROVENANCE.under(NAMESPACE)


@given(texts(1, 200).filter(lambda key: not ids.UUID_FORM.fullmatch(key)))
def test_a_string_becomes_a_uuid_of_version_5(key: str) -> None:
    """It is that of RFC 9562, so other libraries compute the same. A session with the same name has another UUID."""
    assert ids.user_id(NAMESPACE, key) == uuid5(NAMESPACE, f"user:{key}")
    assert ids.session_id(NAMESPACE, key) == uuid5(NAMESPACE, f"session:{key}")
    assert accept(dialogue(user_id=key, session_id=key), NAMED)["user_id"] == uuid5(NAMESPACE, f"user:{key}")


@pytest.mark.parametrize("spelling", [USER, USER.upper(), UUID(USER).hex])
def test_a_uuid_is_unchanged(spelling: str) -> None:
    """This holds for every spelling. A namespace changes nothing for UUIDs."""
    assert ids.user_id(NAMESPACE, spelling) == UUID(USER)
    row = accept(dialogue(user_id=spelling), NAMED)
    assert (row["user_id"], row["session_id"]) == (UUID(USER), UUID(SESSION))
    assert row.row == accept(dialogue(user_id=spelling)).row


@pytest.mark.parametrize("key", ["", "x" * 1025, "a\0b", "\ud800"])
def test_an_invalid_string_id_is_rejected(key: str) -> None:
    """The id is empty, too long, or has characters that PostgreSQL cannot hold."""
    with pytest.raises(ValueError, match=r"must have|holds"):
        ids.user_id(NAMESPACE, key)
    rejected = reject(json.dumps(dialogue(user_id=key)).encode(), NAMED)
    assert paths(rejected) == ["user_id"]
    assert rejected.reason is (Reason.NUL_CHARACTER if "\0" in key else Reason.INVALID_FIELD)


@pytest.mark.parametrize("value", [1, True, ["x"], {"id": "x"}])
def test_an_id_is_a_string(value: object) -> None:
    """A number could be written in several ways."""
    assert str(reject(dialogue(user_id=value), NAMED)) == "user_id: must be a string"
    assert "RAGLEDGER_IDS__NAMESPACE" not in str(reject(dialogue(user_id=value)))


def test_without_a_namespace_the_reason_names_the_setting() -> None:
    """Only strings get this reason, and no reason quotes the id."""
    rejected = reject(dialogue(user_id="auth0|123", session_id="s-1"))
    assert paths(rejected) == ["user_id", "session_id"]
    assert str(rejected).count("set RAGLEDGER_IDS__NAMESPACE") == 2
    assert "auth0" not in str(rejected)
    assert "RAGLEDGER_IDS__NAMESPACE" not in str(reject(dialogue(id="no UUID")))


def test_the_acquirer_of_content_is_a_user() -> None:
    """A person has the same UUID in dialogues and provenance. Ids of things must be UUIDs."""
    assert accept(provenance(acquired_by="auth0|1"), NAMED_PROVENANCE)["acquired_by"] == ids.user_id(
        NAMESPACE, "auth0|1"
    )
    assert paths(reject(provenance(content_id="x"), NAMED_PROVENANCE)) == ["content_id"]
    assert paths(reject(dialogue(id="x"), NAMED)) == ["id"]


def test_many_string_ids_are_decoded_in_the_fast_lane() -> None:
    """None of these events is left to the exact lane, including UUIDs between the strings."""
    users = ["auth0|1", "auth0|2", "auth0|1", USER, UUID(USER).hex]
    records = [record(dialogue(user_id=user, session_id=f"s{n}"), offset=n) for n, user in enumerate(users)]
    rows = decode_all(NAMED, records)
    assert [row.subject for row in rows if isinstance(row, Row)] == [
        ids.user_id(NAMESPACE, user).bytes for user in users
    ]


@pytest.mark.parametrize("kind", [DIALOGUE, PROVENANCE], ids=lambda kind: kind.name)
def test_the_json_schema_has_the_allowed_ids(kind: Kind) -> None:
    """It allows UUIDs, or with a namespace any string. The schemas differ only in these fields."""
    without, given_one = json_schema(kind), json_schema(kind.under(NAMESPACE))
    checker = jsonschema.FormatChecker()
    event = dialogue(user_id="auth0|1") if kind is DIALOGUE else provenance(acquired_by="auth0|1")
    assert not jsonschema.Draft202012Validator(without, format_checker=checker).is_valid(event)
    validator = jsonschema.Draft202012Validator(given_one, format_checker=checker)
    validator.validate(event)
    name = "user_id" if kind is DIALOGUE else "acquired_by"
    assert not validator.is_valid(event | {name: ""})
    changed = {field for field, part in without["properties"].items() if given_one["properties"][field] != part}
    assert changed == ({"user_id", "session_id"} if kind is DIALOGUE else {"acquired_by"})
    assert {key: part for key, part in without.items() if key != "properties"} == {
        key: part for key, part in given_one.items() if key != "properties"
    }


def test_a_kind_without_ids_of_people_is_the_same_under_a_namespace() -> None:
    """A namespace always gives the same kind object."""
    assert FEEDBACK.under(NAMESPACE) is FEEDBACK
    assert DIALOGUE.under(NAMESPACE) is NAMED
    assert DIALOGUE.under(None) is DIALOGUE


@given(st.binary(max_size=40))
def test_the_quick_hash_is_the_same(key: bytes) -> None:
    """Erasures use it for many candidates."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return
    if len(text) > 0 and "\0" not in text and not ids.UUID_FORM.fullmatch(text):
        assert ids.hasher("user", NAMESPACE)(key) == ids.user_id(NAMESPACE, text).bytes
