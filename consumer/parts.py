"""What the service and single commands alike are made of, as the settings have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.ingest.erased import Key
from consumer.settings import Erasure, Topics


def kinds_by_topic(topics: Topics) -> Mapping[str, Kind]:
    """The kind of event each topic carries."""
    return {
        topics.dialogue: DIALOGUE,
        topics.provenance: PROVENANCE,
        topics.feedback: FEEDBACK,
        topics.verification: VERIFICATION,
        topics.plugin: PLUGIN,
    }


def erasure_keys(settings: Erasure) -> Sequence[Key]:
    """The key by which erased users are known, then those used before."""
    return [Key(secret) for secret in settings.secrets]
