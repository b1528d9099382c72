"""Tests each convention by its specification, with spans that no captured record has."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from consumer.events.costs import CostSource, ModelPrices, Price, PriceBook, Pricing, Rate
from consumer.events.otlp.fold import Folded, Skipped
from consumer.events.otlp.kinds import Signal
from consumer.events.rejection import Reason, Rejected
from tests.support.otlp import (
    FOLDING,
    SESSION,
    USER,
    any_value,
    attributes_of,
    chat,
    fold,
    message,
    record,
    span,
    staged,
)

TRACE = UUID("0af7651916cd43dd8448eb211c80319c")
IDS = {"user.id": USER, "session.id": SESSION}
QUESTION, ANSWER = "How many days can I carry over?", "Up to ten days."


def folded(*spans: Span, logs: bytes | None = None) -> Folded | Skipped | Rejected:
    """Return the result of a trace of these spans."""
    records = [(Signal.SPANS, record(*spans)), *([(Signal.LOGS, logs)] if logs else [])]
    return fold(TRACE, staged(records)[TRACE])


def values(*spans: Span, logs: bytes | None = None) -> Mapping[str, Any]:
    """Return the columns of its dialogue."""
    result = folded(*spans, logs=logs)
    assert isinstance(result, Folded), result
    return result.values


def root(**attributes: Any) -> Span:
    """Return a root that names user and session."""
    return span(TRACE, 1, IDS | attributes, took=1500)


LANGFUSE = {
    "langfuse.observation.type": "generation",
    "langfuse.observation.model.name": "gpt-5-mini",
    "langfuse.observation.input": json.dumps([{"role": "user", "content": QUESTION}]),
    "langfuse.observation.output": json.dumps({"role": "assistant", "content": ANSWER}),
    "langfuse.observation.usage_details": json.dumps({"input": 60, "output": 17, "total": 77}),
    "langfuse.observation.model.parameters": json.dumps({"temperature": 0.3}),
    "langfuse.user.id": USER,
    "langfuse.session.id": SESSION,
}
PYDANTIC_EVENTS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.request.temperature": 0.3,
    "gen_ai.usage.input_tokens": 60,
    "gen_ai.usage.output_tokens": 17,
    "events": json.dumps(
        [
            {"content": "Be brief.", "role": "system", "event.name": "gen_ai.system.message"},
            {"content": "Hello", "role": "user", "event.name": "gen_ai.user.message"},
            {"content": "Hi!", "role": "assistant", "event.name": "gen_ai.assistant.message"},
            {"content": QUESTION, "role": "user", "event.name": "gen_ai.user.message"},
            {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "event.name": "gen_ai.choice"},
        ]
    ),
    **IDS,
}
FORMER = {
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.request.temperature": 0.3,
    "gen_ai.usage.prompt_tokens": 60,
    "gen_ai.usage.completion_tokens": 17,
    **IDS,
}
FORMER_OPENLLMETRY = {
    "llm.request.type": "chat",
    "llm.request.model": "gpt-5-mini",
    "llm.temperature": 0.3,
    "llm.prompts.0.role": "user",
    "llm.prompts.0.content": QUESTION,
    "llm.completions.0.content": ANSWER,
    "llm.usage.prompt_tokens": 60,
    "llm.usage.completion_tokens": 17,
    "traceloop.association.properties.user_id": USER,
    "traceloop.association.properties.session_id": SESSION,
}
OPENINFERENCE_PARTS = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-5-mini",
    "llm.invocation_parameters": json.dumps({"temperature": 0.3}),
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.contents.0.message_content.type": "image",
    "llm.input_messages.0.message.contents.1.message_content.type": "text",
    "llm.input_messages.0.message.contents.1.message_content.text": QUESTION,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.contents.0.message_content.type": "text",
    "llm.output_messages.0.message.contents.0.message_content.text": ANSWER,
    "llm.token_count.prompt": 60,
    "llm.token_count.completion": 17,
    **IDS,
}
OPENINFERENCE_COMPLETION = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-5-mini",
    "llm.invocation_parameters": json.dumps({"temperature": 0.3}),
    "llm.prompts.0.prompt.text": QUESTION,
    "llm.choices.0.completion.text": ANSWER,
    "llm.token_count.prompt": 60,
    "llm.token_count.completion": 17,
    **IDS,
}
OPENINFERENCE_VALUES = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-5-mini",
    "input.value": json.dumps({"messages": [{"role": "user", "content": QUESTION}], "temperature": 0.3}),
    "output.value": json.dumps({"choices": [{"message": {"role": "assistant", "content": ANSWER}}]}),
    "llm.invocation_parameters": json.dumps({"temperature": 0.3}),
    "llm.token_count.prompt": 60,
    "llm.token_count.completion": 17,
    **IDS,
}
VERCEL_OBJECT = {
    "ai.operationId": "ai.generateObject.doGenerate",
    "ai.model.id": "gpt-5-mini",
    "ai.settings.temperature": 0.3,
    "ai.prompt.messages": json.dumps([{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]),
    "ai.response.object": ANSWER,
    "ai.usage.promptTokens": 60,
    "ai.usage.completionTokens": 17,
    "ai.telemetry.metadata.userId": USER,
    "ai.telemetry.metadata.sessionId": SESSION,
}
STRUCTURED = chat("", "") | {
    "gen_ai.input.messages": [message("system", "Answer."), message("user", QUESTION)],
    "gen_ai.output.messages": [message("assistant", ANSWER)],
    "gen_ai.request.temperature": 0.3,
    "gen_ai.response.model": "gpt-5-mini",
    **IDS,
}
LISTED = FORMER | {"gen_ai.prompt": [QUESTION], "gen_ai.completion": [ANSWER]}
TEXTS = FORMER | {"gen_ai.prompt": QUESTION, "gen_ai.completion": ANSWER}


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param(LANGFUSE, id="langfuse"),
        pytest.param(PYDANTIC_EVENTS, id="pydantic-ai, events in an attribute"),
        pytest.param(FORMER_OPENLLMETRY, id="openllmetry, the first names"),
        pytest.param(OPENINFERENCE_PARTS, id="openinference, messages of parts"),
        pytest.param(OPENINFERENCE_COMPLETION, id="openinference, a completion"),
        pytest.param(OPENINFERENCE_VALUES, id="openinference, request and response alone"),
        pytest.param(VERCEL_OBJECT, id="vercel, an object"),
        pytest.param(STRUCTURED, id="genai, structured"),
        pytest.param(TEXTS, id="former names, plain texts"),
        pytest.param(LISTED, id="former names, lists of texts"),
    ],
)
def test_a_model_call_becomes_the_same_dialogue_in_every_convention(attributes: Mapping[str, Any]) -> None:
    """One span has every field of the dialogue."""
    found = values(span(TRACE, 1, attributes))
    assert found["query"] == QUESTION
    assert found["response"] == ANSWER
    assert found["model_used"] == "gpt-5-mini"
    assert found["temperature"] == Decimal("0.30")
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (60, 17, 77)
    assert (str(found["user_id"]), str(found["session_id"])) == (USER, SESSION)
    assert found["latency_ms"] == 100


@pytest.mark.parametrize(
    "events",
    [
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps([{"role": "user", "content": QUESTION}])}),
            (
                "gen_ai.content.completion",
                {"gen_ai.completion": json.dumps([{"role": "assistant", "content": ANSWER}])},
            ),
        ],
        [
            ("gen_ai.user.message", {"content": QUESTION}),
            ("gen_ai.choice", {"message": ANSWER, "finish_reason": "stop"}),
        ],
        [
            ("gen_ai.user.message", {"content": json.dumps([{"text": QUESTION}])}),
            ("gen_ai.choice", {"message": json.dumps([{"text": ANSWER}]), "finish_reason": "end_turn"}),
        ],
        [
            (
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.input.messages": [message("user", QUESTION)],
                    "gen_ai.output.messages": [message("assistant", ANSWER)],
                },
            )
        ],
    ],
)
def test_content_may_come_in_events_of_a_span(events: list[tuple[str, Mapping[str, Any]]]) -> None:
    """This is the form of earlier conventions and of instrumentations that still follow them."""
    found = values(span(TRACE, 1, FORMER, events=events))
    assert (found["query"], found["response"]) == (QUESTION, ANSWER)


def log(number: int, name: str, body: Any, *, named_by_attribute: bool = False) -> LogRecord:
    """Return a log event of a span."""
    attributes = {"event.name": name} if named_by_attribute else {}
    return LogRecord(
        trace_id=TRACE.bytes,
        span_id=number.to_bytes(8, "big"),
        event_name="" if named_by_attribute else name,
        time_unix_nano=number,
        body=any_value(body),
        attributes=attributes_of(attributes),
    )


@pytest.mark.parametrize("named_by_attribute", [True, False])
def test_log_events_join_their_span(named_by_attribute: bool) -> None:
    """Messages and choices may be log records. A log record of a missing span is ignored."""
    events = [
        log(2, "gen_ai.user.message", {"content": QUESTION}, named_by_attribute=named_by_attribute),
        log(2, "gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": ANSWER}}),
        log(9, "gen_ai.choice", {"message": {"content": "of another span"}}),
        log(2, "http.request", {"content": "no event of ours"}),
    ]
    logs = LogsData(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=events)])]).SerializeToString()
    found = values(root(), span(TRACE, 2, FORMER, parent=1), logs=logs)
    assert (found["query"], found["response"]) == (QUESTION, ANSWER)


def test_the_last_successful_call_with_a_text_gives_the_answer() -> None:
    """The end time decides. Tool calls, failed calls and earlier calls do not count."""
    tool = {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "tool_call"}]}])}
    found = values(
        root(),
        span(TRACE, 2, chat(QUESTION, "earlier"), parent=1, start=10),
        span(TRACE, 3, chat(QUESTION, ANSWER), parent=1, start=300),
        span(TRACE, 4, chat("of a tool", "") | tool, parent=1, start=500),
        span(TRACE, 5, chat("failed", "no answer"), parent=1, start=700, error=True),
    )
    assert (found["query"], found["response"]) == (QUESTION, ANSWER)
    assert found["prompt_tokens"] == 4 * 60


def test_calls_inside_another_one_are_not_counted_again() -> None:
    """Two instrumentations trace one call, with another span between theirs. If the outer span has no tokens, the inner
    one counts.
    """
    silent = {key: value for key, value in chat(QUESTION, ANSWER).items() if "usage" not in key}
    found = values(
        root(**{"gen_ai.usage.input_tokens": 999, "gen_ai.usage.output_tokens": 999}),
        span(TRACE, 2, chat(QUESTION, ANSWER), parent=1, took=900),
        span(TRACE, 3, {"http.route": "/v1/chat"}, parent=2),
        span(TRACE, 4, chat(QUESTION, ANSWER), parent=3),
        span(TRACE, 5, silent, parent=1, start=1000, took=300),
        span(TRACE, 6, chat(QUESTION, ANSWER), parent=5, start=1000),
    )
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (120, 34, 154)


def test_spans_that_are_their_own_ancestors_are_counted_once() -> None:
    """Folding a hostile trace ends too."""
    found = values(
        span(TRACE, 1, chat(QUESTION, ANSWER) | IDS, parent=2), span(TRACE, 2, {"http.route": "/"}, parent=1)
    )
    assert found["prompt_tokens"] == 60


def test_without_a_root_the_trace_begins_and_ends_with_its_spans() -> None:
    """The service of the root may not be traced at all."""
    found = values(span(TRACE, 2, chat(QUESTION, ANSWER) | IDS, parent=1, start=100, took=200))
    assert found["latency_ms"] == 200
    assert found["created_at"].isoformat() == "2026-11-30T02:21:34.003749"


def test_string_ids_become_uuids() -> None:
    """They use the documented namespace. A number is accepted as a name too."""
    found = values(
        span(TRACE, 1, {"user.id": "auth0|123", "session.id": 42}), span(TRACE, 2, chat(QUESTION, ANSWER), parent=1)
    )
    assert str(found["user_id"]) == "53163b9f-bbb4-5fd8-9c2c-6e875ab52ce0"
    assert found["session_id"].version == 5


def test_user_id_has_priority_over_the_user_sent_to_the_model() -> None:
    """An application may send a hash of its user to the model's provider."""
    found = values(root(), span(TRACE, 2, chat(QUESTION, ANSWER) | {"gen_ai.user": "hash"}, parent=1))
    assert str(found["user_id"]) == USER


def test_citations_are_retrieved_documents_each_source_once() -> None:
    """They are in the order of retrieval. The source is the metadata, else the id. An invalid score is left out."""
    documents = [
        {"id": "1", "score": 0.9, "metadata": {"url": "https://a", "title": "A"}},
        {"id": "2", "score": 12.5, "metadata": {"file_path": "/b.md"}},
        {"id": "3", "score": 0.1, "metadata": {"url": "https://a"}},
        {"id": "4", "score": float("nan")},
        {"content": "of nowhere"},
    ]
    attributes = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(documents[:3])}
    later = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": [documents[3], documents[4]]}
    reranker = {"openinference.span.kind": "RERANKER", "reranker.output_documents.0.document.id": "not retrieved"}
    found = values(
        root(),
        span(TRACE, 2, later, parent=1, start=50),
        span(TRACE, 3, attributes, parent=1, start=10),
        span(TRACE, 4, reranker, parent=1, start=60),
        span(TRACE, 5, chat(QUESTION, ANSWER), parent=1, start=200),
    )
    assert found["citations"] == [
        {"source": "https://a", "title": "A", "confidence": Decimal("0.9")},
        {"source": "/b.md"},
        {"source": "4"},
    ]


@pytest.mark.parametrize(
    ("attributes", "events"),
    [
        (
            {
                "langfuse.observation.type": "retriever",
                "langfuse.observation.output": json.dumps([{"metadata": {"source": "s"}, "page_content": "text"}]),
            },
            [],
        ),
        ({"db.system": "chroma"}, [("db.query.result", {"db.query.result.metadata": json.dumps({"source": "s"})})]),
        (
            {"openinference.span.kind": "RERANKER", "reranker.output_documents.0.document.id": "s"},
            [],
        ),
    ],
)
def test_documents_of_other_conventions_are_citations(attributes: Mapping[str, Any], events: Any) -> None:
    """These are Langfuse's retrievers, OpenLLMetry's vector databases, and rerankers if no document was retrieved
    otherwise.
    """
    found = values(
        root(),
        span(TRACE, 2, attributes, parent=1, events=events),
        span(TRACE, 3, chat(QUESTION, ANSWER), parent=1, start=200),
    )
    assert found["citations"] == [{"source": "s"}]


@pytest.mark.parametrize("form", ["text", "structured"])
def test_messages_and_documents_may_be_json_or_structured(form: str) -> None:
    """Members that the dialogue does not need, and messages before the question, may have any form."""
    messages: Any = [{"role": "system", "parts": [7]}, message("user", QUESTION), message("assistant", "Let me see.")]
    documents: Any = [{"id": "d1", "content": {"x": []}, "score": 0.25, "metadata": {"uri": "https://a", "title": "A"}}]
    if form == "text":
        messages, documents = json.dumps(messages), json.dumps(documents)
    found = values(
        root(),
        span(TRACE, 2, {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": documents}, parent=1),
        span(TRACE, 3, chat("", ANSWER) | {"gen_ai.input.messages": messages}, parent=1),
    )
    assert found["query"] == QUESTION
    assert found["citations"] == [{"source": "https://a", "title": "A", "confidence": Decimal("0.25")}]


def test_attributes_of_the_application_override_every_field() -> None:
    """They may be on any span. Numbers may be numbers or texts, and citations may be JSON or structured."""
    own = {
        "ragledger.query": "q",
        "ragledger.response": "r",
        "ragledger.model_used": "m",
        "ragledger.citations": '[{"source": "own", "confidence": 1.0}]',
        "ragledger.created_at": "2026-01-31T09:30:00Z",
        "ragledger.latency_ms": 7,
        "ragledger.token_cost_jpy": "1.25",
        "ragledger.citation_rate": 50.0,
        "ragledger.prompt_tokens": 1,
        "ragledger.completion_tokens": 2,
        "ragledger.total_tokens": 3,
        "ragledger.relevance_score": 0.5,
        "ragledger.user_feedback": 1,
        "ragledger.context_window_size": 4096,
        "ragledger.temperature": 1,
        "ragledger.user_id": "someone",
        "ragledger.session_id": SESSION,
    }
    for spans in ([root(), span(TRACE, 2, chat(QUESTION, ANSWER) | own, parent=1)], [span(TRACE, 1, IDS | own)]):
        found = dict(values(*spans))
        assert found.pop("user_id") != UUID(USER)
        assert found.pop("created_at").isoformat() == "2026-01-31T09:30:00"
        assert found == {
            "id": TRACE,
            "session_id": UUID(SESSION),
            "query": "q",
            "response": "r",
            "model_used": "m",
            "citations": [{"source": "own", "confidence": Decimal("1.0")}],
            "latency_ms": 7,
            "token_cost_jpy": Decimal("1.25"),
            "citation_rate": Decimal("50.00"),
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "relevance_score": Decimal("0.50"),
            "user_feedback": 1,
            "context_window_size": 4096,
            "temperature": Decimal("1.00"),
        }


@pytest.mark.parametrize(
    ("attributes", "skipped"),
    [
        ({"gen_ai.operation.name": "embeddings"}, Skipped.EMBEDDING),
        ({"gen_ai.operation.name": "create_agent"}, Skipped.AGENT_CREATION),
        ({"http.route": "/healthz"}, Skipped.NO_MODEL_CALL),
        ({"gen_ai.operation.name": "invoke_agent"}, Skipped.NO_MODEL_CALL),
        (chat(QUESTION, "") | {"error.type": "timeout"}, Skipped.ERROR),
        (chat(QUESTION, "") | {"gen_ai.response.finish_reasons": ["tool_calls"]}, Skipped.TOOL_CALL),
        (
            {"openinference.span.kind": "LLM", "llm.output_messages.0.message.tool_calls.0.tool_call.id": "1"},
            Skipped.TOOL_CALL,
        ),
    ],
)
def test_a_trace_without_a_dialogue_is_skipped(attributes: Mapping[str, Any], skipped: Skipped) -> None:
    """The result is the reason."""
    assert folded(root(), span(TRACE, 2, attributes, parent=1)) is skipped


@pytest.mark.parametrize(
    ("attributes", "setting"),
    [
        ({"gen_ai.operation.name": "chat"}, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY"),
        ({"openinference.span.kind": "LLM"}, "OPENINFERENCE_HIDE_INPUTS=false"),
        ({"ai.operationId": "ai.generateText.doGenerate"}, "recordInputs: true"),
        ({"llm.request.type": "chat"}, "TRACELOOP_TRACE_CONTENT=true"),
        ({"langfuse.observation.type": "generation"}, "capture_input=True"),
    ],
)
def test_a_trace_without_content_names_the_setting_that_turns_it_on(
    attributes: Mapping[str, Any], setting: str
) -> None:
    """It is a dead letter that names the setting of its instrumentation."""
    result = folded(root(), span(TRACE, 2, {"gen_ai.request.model": "m", **attributes}, parent=1))
    assert isinstance(result, Rejected)
    assert result.reason is Reason.MISSING_FIELD
    assert {fault.path for fault in result.faults} == {"query", "response"}
    assert f"content capture is off; set {setting}" in str(result)


def test_content_that_was_redacted_is_content() -> None:
    """The application wants the replacement text to be stored."""
    found = values(root(), span(TRACE, 2, chat("__REDACTED__", "__REDACTED__"), parent=1))
    assert (found["query"], found["response"]) == ("__REDACTED__", "__REDACTED__")


def test_dropped_attributes_are_named_if_an_id_is_missing() -> None:
    """Some SDKs keep only 128 attributes, and drop the ids first."""
    result = folded(span(TRACE, 1, chat(QUESTION, ANSWER), dropped=97))
    assert "97 attributes were dropped: raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in str(result)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"gen_ai.request.temperature": 3.5}, Reason.INVALID_FIELD),
        ({"gen_ai.usage.input_tokens": -1}, Reason.INVALID_FIELD),
        ({"gen_ai.output.messages": json.dumps([message("assistant", "a\0b")])}, Reason.NUL_CHARACTER),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_a_dead_letter(attributes: Mapping[str, Any], reason: Reason) -> None:
    """No value is changed in silence, as with events."""
    result = folded(root(), span(TRACE, 2, {**chat(QUESTION, ANSWER), **attributes}, parent=1))
    assert isinstance(result, Rejected)
    assert result.reason is reason


def test_the_version_of_a_span_with_the_later_end_counts() -> None:
    """The order of arrival does not matter."""
    early = span(TRACE, 2, chat(QUESTION, "half an ans"), parent=1, took=50)
    late = span(TRACE, 2, chat(QUESTION, ANSWER), parent=1, took=100)
    assert values(root(), early, late)["response"] == values(late, early, root())["response"] == ANSWER


def test_equal_versions_of_a_span_count_by_their_resource() -> None:
    """The order in which they come does not matter."""
    records = [record(root(), span(TRACE, 2, chat(QUESTION, ANSWER), parent=1), service=name) for name in "abc"]
    results = []
    for order in (records, records[::-1], records[1:] + records[:1]):
        result = fold(TRACE, [one for value in order for one in staged([(Signal.SPANS, value)])[TRACE]])
        assert isinstance(result, Folded)
        results.append((result.service, result.operations.spans))
    assert results == [("a", 2)] * 3


def test_a_copy_of_a_span_that_has_not_ended_is_ignored() -> None:
    """Logfire sends such copies with ids of their own."""
    pending = chat(QUESTION, "pending") | {"logfire.span_type": "pending_span"}
    found = values(
        root(), span(TRACE, 2, chat(QUESTION, ANSWER), parent=1), span(TRACE, 3, pending, parent=2, start=500)
    )
    assert (found["response"], found["prompt_tokens"]) == (ANSWER, 60)


# ── costs ──

PRICES = PriceBook(
    "v1",
    [ModelPrices("gpt-5-*", [Price(date(2000, 1, 1), "USD", Decimal(1000), Decimal(100), Decimal(2000))])],
    {"USD": [Rate(date(2000, 1, 1), Decimal(150))]},
)


@pytest.mark.parametrize(
    ("more", "jpy", "source"),
    [
        ({}, "14.10", CostSource.COMPUTED),  # 60 and 17 tokens, at 1000 and 2000 dollars for a million
        ({"gen_ai.usage.cost": 0.5}, "75.00", CostSource.CONVERTED),
        ({"ragledger.token_cost_jpy": "1.25"}, "1.25", None),
    ],
)
def test_the_cost_of_a_trace_is_settled_as_that_of_an_event(more: Any, jpy: str, source: CostSource | None) -> None:
    """It is stated in yen, converted from dollars, or computed from tokens."""
    spans = [root(), span(TRACE, 2, chat(QUESTION, ANSWER) | more, parent=1)]
    stored = staged([(Signal.SPANS, record(*spans))])[TRACE]
    result = fold(TRACE, stored, replace(FOLDING, pricing=Pricing(PRICES)))
    assert isinstance(result, Folded)
    assert result.values["token_cost_jpy"] == Decimal(jpy)
    assert (result.note and result.note.source) == source


def test_a_cost_in_dollars_needs_a_rate() -> None:
    """Without a rate, it is noted, and settled when a price file has a rate."""
    result = folded(root(), span(TRACE, 2, chat(QUESTION, ANSWER) | {"gen_ai.usage.cost": 0.5}, parent=1))
    assert isinstance(result, Folded)
    assert "token_cost_jpy" not in result.values
    assert result.note is not None
    assert (result.note.source, result.note.amount, result.note.currency) == (
        CostSource.UNPRICED,
        Decimal("0.500000000"),
        "USD",
    )


@pytest.mark.parametrize("key", ["\0", "x" * 2000])
def test_an_invalid_id_makes_a_dead_letter(key: str) -> None:
    """The reason names the field."""
    result = folded(span(TRACE, 1, {"user.id": key, "session.id": SESSION} | chat(QUESTION, ANSWER)))
    assert isinstance(result, Rejected)
    assert result.reason is Reason.INVALID_FIELD
    assert [fault.path for fault in result.faults] == ["user_id"]
