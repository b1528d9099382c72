"""Which topic carries which kind of event."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.otlp.fold import DEFAULT_NAMESPACE, Folding
from consumer.events.otlp.staged import signal_kind
from consumer.events.otlp.wire import Signal
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.settings.model import Settings, Topics


def kinds_by_topic(topics: Topics) -> Mapping[str, Kind]:
    """The kind of event each topic of events carries."""
    return {
        topics.dialogue: DIALOGUE,
        topics.provenance: PROVENANCE,
        topics.feedback: FEEDBACK,
        topics.verification: VERIFICATION,
        topics.plugin: PLUGIN,
    }


def consumed_kinds(settings: Settings) -> Mapping[str, Kind]:
    """What each topic carries that is read: events, and spans and logs where topics of them are set."""
    signals = {settings.topics.otlp_spans: Signal.SPANS, settings.topics.otlp_logs: Signal.LOGS}
    traced = {
        topic: signal_kind(signal, folding_of(settings)) for topic, signal in signals.items() if topic is not None
    }
    return {**kinds_by_topic(settings.topics), **traced}


def folding_of(settings: Settings) -> Folding:
    """How traces become dialogues under these settings."""
    return Folding(DEFAULT_NAMESPACE, settings.otlp.retrieved_is_cited)
