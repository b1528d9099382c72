"""Tests how the expiry of a token is read."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.credentials.expiry import seconds_left

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC).timestamp()
SIGNED = "db.example:5432/?Action=connect&DBUser=u&X-Amz-Date=20260131T092900Z&X-Amz-Expires=900&X-Amz-Signature=ab"


def jwt(claims: object) -> str:
    """Return a token in the format of OpenID providers, with a fake signature."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


def encoded(url: str) -> str:
    """Encode a token like the signer of Amazon MSK."""
    return base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        (jwt({"exp": NOW + 600}), 600),
        (jwt({"exp": NOW - 5}), -5),
        (SIGNED, 840),
        (encoded(f"https://kafka.eu-west-1.amazonaws.com/?{SIGNED.partition('?')[2]}"), 840),
    ],
)
def test_texts_that_contain_their_expiry(token: str, seconds: float) -> None:
    """A JWT, a token of Amazon RDS and one of Amazon MSK contain their expiry."""
    assert seconds_left(token, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "token",
    [
        "hunter2",
        "ya29.a0Af",
        "a.b.c",
        jwt([]),
        jwt({}),
        jwt({"exp": "soon"}),
        jwt({"exp": None}),
        "",
        "host/?X-Amz-Date=x",
    ],
)
def test_texts_that_contain_no_expiry(token: str) -> None:
    """A password, an opaque token, and texts that resemble the known formats contain none."""
    assert seconds_left(token, NOW) is None


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    """No output of a program raises an error."""
    seconds_left(text, NOW)
    seconds_left(f"a.{text}.b", NOW)
    seconds_left(encoded(f"https://h/?X-Amz-Date={text}&X-Amz-Expires={text}"), NOW)
