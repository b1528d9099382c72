"""Maps attributes to fields. No other module knows their names, and docs/opentelemetry.md takes its tables from here.

The first attribute of a field that is present counts. `N` stands for an index. Raise VERSION when a name or an order
changes: `dialogue_traces.mapping` stores the version that a dialogue was folded with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

VERSION = 1


class Convention(StrEnum):
    """The convention or instrumentation that defines an attribute."""

    OWN = "your application"
    GENAI = "OpenTelemetry GenAI"
    FORMER = "OpenTelemetry GenAI, former names"
    OPENINFERENCE = "OpenInference"
    OPENLLMETRY = "OpenLLMetry"
    LANGFUSE = "Langfuse"
    VERCEL = "Vercel AI SDK"
    PYDANTIC = "pydantic-ai"
    OPENLIT = "OpenLIT"


class Role(StrEnum):
    """The role of a span in its trace."""

    MODEL_CALL = "model call"
    EMBEDDING = "embedding"
    RETRIEVAL = "retrieval"
    RERANKING = "reranking"
    TOOL = "tool call"
    ENTRY = "agent, chain or workflow"
    AGENT_CREATION = "agent creation"
    OTHER = "other"


class Attribute(NamedTuple):
    """The name of an attribute, and the convention that defines it."""

    name: str
    convention: Convention


class RoleAttribute(NamedTuple):
    """An attribute whose value, in lower case, determines the role of the span."""

    name: str
    convention: Convention
    roles: Mapping[str, Role]


def _of(convention: Convention, *names: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(name, convention) for name in names)


C, R = Convention, Role

ROLES: tuple[RoleAttribute, ...] = (
    RoleAttribute(
        "gen_ai.operation.name",
        C.GENAI,
        {
            "chat": R.MODEL_CALL,
            "text_completion": R.MODEL_CALL,
            "completion": R.MODEL_CALL,
            "generate_content": R.MODEL_CALL,
            "embeddings": R.EMBEDDING,
            "embedding": R.EMBEDDING,
            "retrieval": R.RETRIEVAL,
            "rerank": R.RERANKING,
            "execute_tool": R.TOOL,
            "invoke_agent": R.ENTRY,
            "invoke_workflow": R.ENTRY,
            "create_agent": R.AGENT_CREATION,
        },
    ),
    RoleAttribute(
        "openinference.span.kind",
        C.OPENINFERENCE,
        {
            "llm": R.MODEL_CALL,
            "embedding": R.EMBEDDING,
            "retriever": R.RETRIEVAL,
            "reranker": R.RERANKING,
            "tool": R.TOOL,
            "agent": R.ENTRY,
            "chain": R.ENTRY,
            "prompt": R.OTHER,
            "guardrail": R.OTHER,
            "evaluator": R.OTHER,
            "unknown": R.OTHER,
        },
    ),
    RoleAttribute(
        "langfuse.observation.type",
        C.LANGFUSE,
        {
            "generation": R.MODEL_CALL,
            "embedding": R.EMBEDDING,
            "retriever": R.RETRIEVAL,
            "tool": R.TOOL,
            "agent": R.ENTRY,
            "chain": R.ENTRY,
            "span": R.OTHER,
            "event": R.OTHER,
            "evaluator": R.OTHER,
            "guardrail": R.OTHER,
        },
    ),
    RoleAttribute(
        "ai.operationId",
        C.VERCEL,
        {
            "ai.generatetext.dogenerate": R.MODEL_CALL,
            "ai.streamtext.dostream": R.MODEL_CALL,
            "ai.generateobject.dogenerate": R.MODEL_CALL,
            "ai.streamobject.dostream": R.MODEL_CALL,
            "ai.embed": R.EMBEDDING,
            "ai.embed.doembed": R.EMBEDDING,
            "ai.embedmany": R.EMBEDDING,
            "ai.embedmany.doembed": R.EMBEDDING,
            "ai.rerank": R.RERANKING,
            "ai.rerank.dorerank": R.RERANKING,
            "ai.toolcall": R.TOOL,
            "ai.generatetext": R.ENTRY,
            "ai.streamtext": R.ENTRY,
            "ai.generateobject": R.ENTRY,
            "ai.streamobject": R.ENTRY,
        },
    ),
    RoleAttribute(
        "llm.request.type",
        C.OPENLLMETRY,
        {
            "chat": R.MODEL_CALL,
            "completion": R.MODEL_CALL,
            "embedding": R.EMBEDDING,
            "rerank": R.RERANKING,
        },
    ),
    RoleAttribute(
        "traceloop.span.kind",
        C.OPENLLMETRY,
        {"workflow": R.ENTRY, "task": R.ENTRY, "agent": R.ENTRY, "tool": R.TOOL},
    ),
)
"""The first of these attributes that a span has determines its role. A span without any of them is a model call if it
has a model, and messages or token counts: older instrumentations write no role."""

PENDING = Attribute("logfire.span_type", C.PYDANTIC)
"""The value `pending_span` marks a copy of a span that has not ended. Such a copy is ignored."""

USER = (
    *_of(C.OWN, "ragledger.user_id"),
    *_of(C.GENAI, "user.id", "enduser.id"),
    *_of(C.LANGFUSE, "langfuse.user.id"),
    *_of(C.OPENLLMETRY, "traceloop.association.properties.user_id", "traceloop.association.properties.userId"),
    *_of(C.VERCEL, "ai.telemetry.metadata.userId", "ai.telemetry.metadata.user_id", "ai.telemetry.metadata.user.id"),
    *_of(C.GENAI, "enduser.pseudo.id"),
    *_of(C.OPENLLMETRY, "gen_ai.user", "llm.user"),
    *_of(C.FORMER, "gen_ai.request.user", "gen_ai.openai.request.user"),
)
SESSION = (
    *_of(C.OWN, "ragledger.session_id"),
    *_of(C.GENAI, "session.id"),
    *_of(C.LANGFUSE, "langfuse.session.id"),
    *_of(C.GENAI, "gen_ai.conversation.id"),
    *_of(
        C.OPENLLMETRY,
        "traceloop.association.properties.session_id",
        "traceloop.association.properties.sessionId",
        "traceloop.association.properties.conversation_id",
        "traceloop.association.properties.thread_id",
        "traceloop.association.properties.chat_id",
    ),
    *_of(
        C.VERCEL,
        "ai.telemetry.metadata.sessionId",
        "ai.telemetry.metadata.session_id",
        "ai.telemetry.metadata.session.id",
        "ai.telemetry.metadata.conversationId",
        "ai.telemetry.metadata.threadId",
        "ai.telemetry.metadata.chatId",
    ),
    *_of(C.FORMER, "gen_ai.thread.id", "thread.id"),
)

RESPONSE_MODEL = (
    *_of(C.GENAI, "gen_ai.response.model"),
    *_of(C.OPENINFERENCE, "llm.model_name"),
    *_of(C.VERCEL, "ai.response.model"),
    *_of(C.LANGFUSE, "langfuse.observation.model.name"),
    *_of(C.OPENLLMETRY, "llm.response.model"),
)
REQUEST_MODEL = (
    *_of(C.GENAI, "gen_ai.request.model"),
    *_of(C.VERCEL, "ai.model.id"),
    *_of(C.OPENLLMETRY, "llm.request.model"),
)
TEMPERATURE = (
    *_of(C.GENAI, "gen_ai.request.temperature"),
    *_of(C.VERCEL, "ai.settings.temperature"),
    *_of(C.OPENLLMETRY, "llm.temperature", "llm.request.temperature"),
)
PARAMETERS = (
    *_of(C.OPENINFERENCE, "llm.invocation_parameters"),
    *_of(C.LANGFUSE, "langfuse.observation.model.parameters"),
    *_of(C.PYDANTIC, "model_request_parameters"),
)
"""A JSON object. Its `temperature` and `model` count if no attribute states them."""

PROMPT_TOKENS = (
    *_of(C.GENAI, "gen_ai.usage.input_tokens"),
    *_of(C.FORMER, "gen_ai.usage.prompt_tokens"),
    *_of(C.OPENINFERENCE, "llm.token_count.prompt"),
    *_of(C.VERCEL, "ai.usage.inputTokens", "ai.usage.promptTokens"),
    *_of(C.OPENLLMETRY, "llm.usage.prompt_tokens"),
)
COMPLETION_TOKENS = (
    *_of(C.GENAI, "gen_ai.usage.output_tokens"),
    *_of(C.FORMER, "gen_ai.usage.completion_tokens"),
    *_of(C.OPENINFERENCE, "llm.token_count.completion"),
    *_of(C.VERCEL, "ai.usage.outputTokens", "ai.usage.completionTokens"),
    *_of(C.OPENLLMETRY, "llm.usage.completion_tokens"),
)
TOTAL_TOKENS = (
    *_of(C.OPENLLMETRY, "gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
    *_of(C.OPENINFERENCE, "llm.token_count.total"),
    *_of(C.VERCEL, "ai.usage.totalTokens", "ai.usage.tokens"),
)
USAGE = _of(C.LANGFUSE, "langfuse.observation.usage_details")
"""A JSON object with `input`, `output` and `total`, or OpenAI's names for them."""

COST_USD = (
    *_of(C.OPENINFERENCE, "llm.cost.total"),
    *_of(C.OPENLIT, "gen_ai.usage.cost"),
    *_of(C.PYDANTIC, "operation.cost"),
)
COSTS_USD = _of(C.LANGFUSE, "langfuse.observation.cost_details")
"""A JSON object with `total`, or else with the amounts to add up."""

INPUT_MESSAGES = (
    *_of(C.GENAI, "gen_ai.input.messages"),
    *_of(C.OPENINFERENCE, "llm.input_messages.N.message"),
    *_of(C.OPENLLMETRY, "gen_ai.prompt.N"),
    *_of(C.VERCEL, "ai.prompt.messages"),
    *_of(C.FORMER, "gen_ai.prompt", "gen_ai.content.prompt"),
    *_of(C.PYDANTIC, "events"),
    *_of(C.OPENLLMETRY, "llm.prompts.N"),
    *_of(C.OPENINFERENCE, "llm.prompts.N.prompt"),
    *_of(C.LANGFUSE, "langfuse.observation.input"),
    *_of(C.VERCEL, "ai.prompt"),
    *_of(C.OPENINFERENCE, "input.value"),
)
OUTPUT_MESSAGES = (
    *_of(C.GENAI, "gen_ai.output.messages"),
    *_of(C.OPENINFERENCE, "llm.output_messages.N.message"),
    *_of(C.OPENLLMETRY, "gen_ai.completion.N"),
    *_of(C.VERCEL, "ai.response.text", "ai.response.object"),
    *_of(C.FORMER, "gen_ai.completion", "gen_ai.content.completion"),
    *_of(C.PYDANTIC, "events"),
    *_of(C.OPENLLMETRY, "llm.completions.N"),
    *_of(C.OPENINFERENCE, "llm.choices.N.completion"),
    *_of(C.LANGFUSE, "langfuse.observation.output"),
    *_of(C.OPENINFERENCE, "output.value"),
)
TOOL_CALLS = (
    *_of(C.VERCEL, "ai.response.toolCalls"),
    *_of(C.GENAI, "gen_ai.response.finish_reasons"),
    *_of(C.OPENINFERENCE, "llm.finish_reason"),
    *_of(C.VERCEL, "ai.response.finishReason"),
)
"""Attributes that show whether a model call requests a tool. Such a call has no text, even if content is captured."""

MESSAGE_EVENTS: Mapping[str, str] = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE_EVENT = "gen_ai.choice"
DETAILS_EVENT = "gen_ai.client.inference.operation.details"
CONTENT_EVENTS = ("gen_ai.content.prompt", "gen_ai.content.completion")
RESULT_EVENT = "db.query.result"
EVENTS = frozenset({*MESSAGE_EVENTS, CHOICE_EVENT, DETAILS_EVENT, *CONTENT_EVENTS, RESULT_EVENT})
"""The names of span events and log records that hold content or documents."""
EVENT_ATTRIBUTES = ("gen_ai.event.content", "content", "message", "gen_ai.prompt", "gen_ai.completion", "body")

DOCUMENTS = (
    *_of(C.GENAI, "gen_ai.retrieval.documents"),
    *_of(C.OPENINFERENCE, "retrieval.documents.N.document"),
    *_of(C.LANGFUSE, "langfuse.observation.output"),
    *_of(C.OPENLLMETRY, "db.query.result (event)"),
)
SOURCES = ("source", "url", "uri", "file_path")
"""Members of a document's metadata that name its source. If all are missing, the document's id is the source."""

ERROR = (*_of(C.GENAI, "error.type"), *_of(C.LANGFUSE, "langfuse.observation.level"))

SERVICE = _of(C.GENAI, "service.name")
ENVIRONMENT = (*_of(C.GENAI, "deployment.environment.name"), *_of(C.FORMER, "deployment.environment"))

OWN_PREFIX = "ragledger."
OWN_FIELDS: Mapping[str, str] = {
    "ragledger.query": "query",
    "ragledger.response": "response",
    "ragledger.model_used": "model_used",
    "ragledger.citations": "citations",
    "ragledger.created_at": "created_at",
    "ragledger.latency_ms": "latency_ms",
    "ragledger.token_cost_jpy": "token_cost_jpy",
    "ragledger.citation_rate": "citation_rate",
    "ragledger.prompt_tokens": "prompt_tokens",
    "ragledger.completion_tokens": "completion_tokens",
    "ragledger.total_tokens": "total_tokens",
    "ragledger.relevance_score": "relevance_score",
    "ragledger.user_feedback": "user_feedback",
    "ragledger.context_window_size": "context_window_size",
    "ragledger.temperature": "temperature",
}
"""The application's own attributes, on any span of the trace. Each one overrides the folded value of its field."""


def names(*fields: Iterable[Attribute]) -> tuple[str, ...]:
    """The names of the attributes of the fields, in order."""
    return tuple(attribute.name for field in fields for attribute in field)


def _names(*fields: Iterable[Attribute]) -> frozenset[str]:
    return frozenset(attribute.name for field in fields for attribute in field if "N" not in attribute.name.split("."))


IDENTITY_NAMES = _names(USER, SESSION)
ROLE_NAMES = frozenset(
    {"gen_ai.operation.name", "openinference.span.kind", "langfuse.observation.type", "ai.operationId"}
    | {"llm.request.type", "traceloop.span.kind", "error.type", "langfuse.observation.level", PENDING.name}
)
CALL_NAMES = _names(
    RESPONSE_MODEL,
    REQUEST_MODEL,
    TEMPERATURE,
    PARAMETERS,
    PROMPT_TOKENS,
    COMPLETION_TOKENS,
    TOTAL_TOKENS,
    USAGE,
    COST_USD,
    COSTS_USD,
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    TOOL_CALLS,
) | {"gen_ai.is_streaming"}
DOCUMENT_NAMES = _names(DOCUMENTS)
FAMILIES = tuple(
    {attribute.name.partition(".N")[0] for attribute in (*INPUT_MESSAGES, *OUTPUT_MESSAGES) if ".N" in attribute.name}
    | {"retrieval.documents", "reranker.output_documents"}
)
"""The part of an indexed attribute's name before the index."""

CAPTURE: Mapping[Convention, str] = {
    C.GENAI: "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY",
    C.OPENLLMETRY: "TRACELOOP_TRACE_CONTENT=true",
    C.OPENINFERENCE: "OPENINFERENCE_HIDE_INPUTS=false and OPENINFERENCE_HIDE_OUTPUTS=false",
    C.VERCEL: "recordInputs: true and recordOutputs: true in experimental_telemetry",
    C.PYDANTIC: "include_content=True in InstrumentationSettings",
    C.LANGFUSE: "capture_input=True and capture_output=True in @observe",
}
"""The setting that turns content capture on, by convention."""
