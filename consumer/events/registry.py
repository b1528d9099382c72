"""Maps topics to kinds of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.costs import Pricing
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.otlp.kinds import DEFAULT_NAMESPACE, Signal, signal_kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.settings.model import Settings, Topics

if TYPE_CHECKING:
    from consumer.events.otlp.fold import Folding


def kinds_by_topic(topics: Topics, namespace: UUID | None = None, pricing: Pricing | None = None) -> Mapping[str, Kind]:
    """Return the kind of event of each topic.

    :param namespace: converts string ids of users and sessions to UUIDs; without it, string ids are rejected
    :param pricing: settles costs; without it, only a stated cost in yen counts
    """
    kinds = {
        topics.dialogue: DIALOGUE,
        topics.provenance: PROVENANCE,
        topics.feedback: FEEDBACK,
        topics.verification: VERIFICATION,
        topics.plugin: PLUGIN,
    }
    return {topic: kind.under(namespace, pricing) for topic, kind in kinds.items()}


def signal_kinds(settings: Settings, pricing: Pricing) -> Mapping[str, Kind]:
    """Return the kinds of the configured OTLP topics."""
    if not has_traces(settings):
        return {}
    signals = {settings.topics.otlp_spans: Signal.SPANS, settings.topics.otlp_logs: Signal.LOGS}
    folding = folding_of(settings, pricing)
    return {topic: signal_kind(signal, folding) for topic, signal in signals.items() if topic is not None}


def folding_of(settings: Settings, pricing: Pricing) -> Folding:
    """Return how these settings convert traces to dialogues."""
    from consumer.events.otlp.fold import Folding  # with protobuf, which a service without OTLP does not need

    return Folding(settings.ids.namespace or DEFAULT_NAMESPACE, settings.otlp.retrieved_is_cited, pricing)


def namespace_of(settings: Settings) -> UUID | None:
    """Return the namespace under which string ids are stored, or None. Without the setting, only traces have string
    ids.
    """
    return settings.ids.namespace or (DEFAULT_NAMESPACE if has_traces(settings) else None)


def has_traces(settings: Settings) -> bool:
    """Return whether a topic of OTLP is configured."""
    return bool(settings.topics.otlp_spans or settings.topics.otlp_logs)
