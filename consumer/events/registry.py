"""Which topic carries which kind of event."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.costs import Pricing
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.settings.model import Topics


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
