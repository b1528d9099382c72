"""Which topic carries which kind of event."""

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
    """The kind of event each topic carries.

    :param namespace: turns ids of users and sessions that are no UUIDs into UUIDs; without it they are refused
    :param pricing: settles costs; without it, only a cost in yen is one
    """
    kinds = {
        topics.dialogue: DIALOGUE,
        topics.provenance: PROVENANCE,
        topics.feedback: FEEDBACK,
        topics.verification: VERIFICATION,
        topics.plugin: PLUGIN,
    }
    return {topic: kind.under(namespace, pricing) for topic, kind in kinds.items()}


def signal_kinds(settings: Settings) -> Mapping[str, Kind]:
    """The kinds of the OTLP topics that are configured."""
    signals = {settings.topics.otlp_spans: Signal.SPANS, settings.topics.otlp_logs: Signal.LOGS}
    return {topic: signal_kind(signal, folding_of(settings)) for topic, signal in signals.items() if topic is not None}


def folding_of(settings: Settings) -> Folding:
    """How traces become dialogues under these settings."""
    return Folding(settings.ids.namespace or DEFAULT_NAMESPACE, settings.otlp.retrieved_is_cited)
