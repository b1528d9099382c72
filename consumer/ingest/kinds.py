"""The kinds of events and the prices, as the settings have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from consumer.events.costs import PriceBook, Pricing
from consumer.events.kind import Kind
from consumer.events.registry import kinds_by_topic, signal_kinds
from consumer.ingest.days import BusinessDays
from consumer.settings.model import Settings


def pricing_of(settings: Settings) -> Pricing:
    """The object that settles costs: the prices in the file, by business days.

    :raises YamlFileError: the file is missing or wrong
    """
    return Pricing(_prices_in(settings.prices.file), BusinessDays(settings.rollup.timezone).day_at)


def _prices_in(file: Path | None) -> PriceBook:
    if file is None:
        return PriceBook()
    from consumer.events import price_file  # with PyYAML, which a service without a file does not need

    return price_file.load(file)


def kinds_of(settings: Settings, pricing: Pricing | None = None) -> Mapping[str, Kind]:
    """The kind of event that each topic carries.

    :param pricing: the object that settles costs; by default the one of the settings
    :raises YamlFileError: the price file is missing or wrong
    """
    return kinds_by_topic(settings.topics, settings.ids.namespace, pricing or pricing_of(settings))


def consumed_kinds(settings: Settings, pricing: Pricing | None = None) -> Mapping[str, Kind]:
    """The kind of each topic that is read: events, and spans and logs if their topics are configured.

    Parameters and errors as in :func:`kinds_of`.
    """
    pricing = pricing or pricing_of(settings)
    return {**kinds_of(settings, pricing), **signal_kinds(settings, pricing)}
