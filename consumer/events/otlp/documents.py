"""Turns the documents that a trace retrieved into citations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import asdict

from consumer.events.otlp import mapping
from consumer.events.otlp.calls import entries, number
from consumer.events.otlp.content import UNREADABLE, decoded
from consumer.events.otlp.mapping import Role
from consumer.events.otlp.trace import Node, Trace

_NONE, _ALL = Decimal(0), Decimal(1)
_WITHIN = "document."
_INDEXED = ("retrieval.documents", "reranker.output_documents")
_LISTED = ("gen_ai.retrieval.documents", "langfuse.observation.output")


# The members of a document that are needed. The others, which hold its text, are not decoded.
_MEMBERS = ("id", "score", "title", "metadata", *mapping.SOURCES)
_Document = msgspec.defstruct("_Document", [(name, Any, None) for name in _MEMBERS], gc=False)
_documents_form = msgspec.json.Decoder(list[_Document])  # type: ignore[valid-type]


def citations_of(trace: Trace) -> list[dict[str, Any]]:
    """The retrieved sources, each once, in order of retrieval. Rerankers count only if no retrieval has a source."""
    found: dict[str, dict[str, Any]] = {}
    for role in (Role.RETRIEVAL, Role.RERANKING):
        for document in chain.from_iterable(map(_documents, trace.of(role))):
            citation = _citation(document)
            if citation is not None:
                found.setdefault(citation["source"], citation)
        if found:
            break
    return list(found.values())


def _documents(node: Node) -> Iterator[Mapping[str, Any]]:
    for name in _LISTED:
        if (value := node.get((name,))) is not None:
            yield from _listed(value)
    families = entries(node)
    for indexed in (families[family] for family in _INDEXED if family in families):
        for index in sorted(indexed):
            yield {name.removeprefix(_WITHIN): value for name, value in indexed[index].items()}
    for event in node.events:
        if event.name == mapping.RESULT_EVENT:
            prefix = f"{mapping.RESULT_EVENT}."
            yield {name.removeprefix(prefix): value for name, value in event.attributes.items()}


def _listed(value: Any) -> Iterable[Mapping[str, Any]]:
    """The documents in a list, or in an object with a list."""
    if isinstance(value, str):
        with suppress(*UNREADABLE):
            return list(map(asdict, _documents_form.decode(value)))
        value = decoded(value)
    listed = value.get("documents") if isinstance(value, dict) else value
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else ()


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
