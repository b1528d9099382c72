"""Maps topics to kinds of events."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.costs import Pricing
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.otlp.fold import DEFAULT_NAMESPACE, Folding
from consumer.events.otlp.staged import signal_kind
from consumer.events.otlp.wire import Signal
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.settings.model import Settings, Topics


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
    signals = {settings.topics.otlp_spans: Signal.SPANS, settings.topics.otlp_logs: Signal.LOGS}
    folding = folding_of(settings, pricing)
    return {topic: signal_kind(signal, folding) for topic, signal in signals.items() if topic is not None}


def folding_of(settings: Settings, pricing: Pricing) -> Folding:
    """Return how these settings convert traces to dialogues."""
    return Folding(settings.ids.namespace or DEFAULT_NAMESPACE, settings.otlp.retrieved_is_cited, pricing)


def namespace_of(settings: Settings) -> UUID | None:
    """Return the namespace under which string ids are stored, or None. Without the setting, only traces have string
    ids.
    """
    has_traces = settings.topics.otlp_spans or settings.topics.otlp_logs
    return settings.ids.namespace or (DEFAULT_NAMESPACE if has_traces else None)
