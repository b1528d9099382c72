"""Tests what the names of a span's attributes decide."""

from typing import Any

import pytest

from consumer.events.otlp.mapping import Role
from consumer.events.otlp.roles import role_of, shape_of
from tests.support.otlp import attributes_of

CHAT = ("http.route", "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.prompt.0.content", "embedding.vector")


def test_spans_with_the_same_names_share_a_shape() -> None:
    """Names are compared by value: each span of a record has strings of its own."""
    assert shape_of(CHAT) is shape_of(tuple("".join(name) for name in CHAT))


@pytest.mark.parametrize("names", [("x" * 5_000,), tuple(str(number) for number in range(65))], ids=["long", "many"])
def test_uncommon_names_are_not_remembered(names: tuple[str, ...]) -> None:
    """Otherwise a producer could fill the memory."""
    first, second = shape_of(names), shape_of(names)
    assert first == second
    assert first is not second


def test_a_span_drops_what_its_role_does_not_need() -> None:
    """Places count from the end, so that one can be deleted after the other."""
    shape = shape_of(CHAT)
    assert list(shape.unwanted_by(Role.MODEL_CALL)) == [4, 0]
    assert list(shape.unwanted_by(Role.OTHER)) == [4, 3, 2, 0]
    assert list(shape_of(("user.id", *CHAT)).unwanted_by(Role.ENTRY)) == [5, 4, 3, 1]


@pytest.mark.parametrize(
    ("attributes", "role"),
    [
        ({"gen_ai.operation.name": "CHAT"}, Role.MODEL_CALL),
        ({"gen_ai.operation.name": "unheard of", "openinference.span.kind": "RETRIEVER"}, Role.RETRIEVAL),
        ({"gen_ai.operation.name": 7, "traceloop.span.kind": "tool"}, Role.TOOL),
        ({"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 5}, Role.MODEL_CALL),
        ({"gen_ai.request.model": "m"}, Role.OTHER),
        ({}, Role.OTHER),
    ],
)
def test_the_role_is_the_same_before_and_after_staging(attributes: dict[str, Any], role: Role) -> None:
    """Staging reads messages of OTLP, the fold reads values."""
    assert shape_of(tuple(attributes)).role_of(attributes_of(attributes)) is role
    assert role_of(attributes) is role


def test_the_last_of_two_attributes_with_one_name_counts() -> None:
    """As in the fold, which collects values by name."""
    twice = [*attributes_of({"gen_ai.operation.name": "chat"}), *attributes_of({"gen_ai.operation.name": "embeddings"})]
    assert shape_of(tuple(one.key for one in twice)).role_of(twice) is Role.EMBEDDING
