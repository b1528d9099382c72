"""Which topic carries which kind of event."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.settings.model import Topics


def kinds_by_topic(topics: Topics) -> Mapping[str, Kind]:
    """The kind of event each topic carries."""
    return {
        topics.dialogue: DIALOGUE,
        topics.provenance: PROVENANCE,
        topics.feedback: FEEDBACK,
        topics.verification: VERIFICATION,
        topics.plugin: PLUGIN,
    }
