"""Turns the documents that a trace retrieved into citations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from consumer.events.otlp import mapping
from consumer.events.otlp.calls import entries, number
from consumer.events.otlp.content import decoded
from consumer.events.otlp.mapping import Role
from consumer.events.otlp.trace import Node, Trace

_NONE, _ALL = Decimal(0), Decimal(1)
_WITHIN = "document."
_LISTED = ("gen_ai.retrieval.documents", "langfuse.observation.output")


def citations_of(trace: Trace) -> list[dict[str, Any]]:
    """The retrieved sources, each once, in order of retrieval. Rerankers count only if no retrieval has a source."""
    found: dict[str, dict[str, Any]] = {}
    for role in (Role.RETRIEVAL, Role.RERANKING):
        for document in _documents(trace.of(role)):
            citation = _citation(document)
            if citation is not None:
                found.setdefault(citation["source"], citation)
        if found:
            break
    return list(found.values())


def _documents(nodes: Iterable[Node]) -> Iterator[Mapping[str, Any]]:
    for node in nodes:
        for name in _LISTED:
            yield from _listed(decoded(node.get((name,))))
        families = entries(node)
        for family in ("retrieval.documents", "reranker.output_documents"):
            indexed = families.get(family, {})
            for index in sorted(indexed):
                yield {name.removeprefix(_WITHIN): value for name, value in indexed[index].items()}
        for event in node.events:
            if event.name == mapping.RESULT_EVENT:
                prefix = f"{mapping.RESULT_EVENT}."
                yield {name.removeprefix(prefix): value for name, value in event.attributes.items()}


def _listed(value: Any) -> Iterator[Mapping[str, Any]]:
    listed = value.get("documents") if isinstance(value, dict) else value
    if isinstance(listed, list):
        yield from (one for one in listed if isinstance(one, dict))


def _citation(document: Mapping[str, Any]) -> dict[str, Any] | None:
    metadata = decoded(document.get("metadata"))
    places = (metadata, document) if isinstance(metadata, dict) else (document,)
    source = _first(places, mapping.SOURCES) or _first((document,), ("id",))
    if source is None:
        return None
    citation: dict[str, Any] = {"source": source}
    for place in places:
        if isinstance(title := place.get("title"), str) and title:
            citation["title"] = title
            break
    score = number(document.get("score"))
    if score is not None and score.is_finite() and _NONE <= score <= _ALL:
        citation["confidence"] = score
    return citation


def _first(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> str | None:
    for place in places:
        for name in names:
            value = place.get(name)
            if value is not None and _is_name(value):
                return str(value)
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
