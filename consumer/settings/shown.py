"""The settings in force as they may be shown, and what of them may not be."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

from pydantic import SecretStr

from consumer.settings.given import HIDDEN, may_hold_secret
from consumer.settings.model import Settings, variable

SHORTEST_SECRET = 4  # anything shorter is in many other words too


class Shown(NamedTuple):
    """A setting: its variable, its value or :data:`HIDDEN`, and what it means."""

    variable: str
    value: Any
    meaning: str


def effective(settings: Settings) -> list[Shown]:
    """Every setting, secrets hidden."""
    rows = []
    for group_name, group in settings:
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            is_hidden = isinstance(value, SecretStr) or may_hold_secret(value)
            rows.append(Shown(variable(group_name, name), HIDDEN if is_hidden else value, field.description or ""))
    return rows


def secrets(settings: Settings) -> Collection[str]:
    """Every secret of the settings, each in every form in which it may be quoted."""
    return {secret for secret in _secrets(settings) if len(secret) >= SHORTEST_SECRET}


def _secrets(settings: Settings) -> Iterator[str]:
    for _, group in settings:
        for name in type(group).model_fields:
            value = getattr(group, name)
            if isinstance(value, SecretStr):
                yield value.get_secret_value()
                yield from value.get_secret_value().split(",")
    dsn = settings.postgres.parsed
    password = dsn.credentials.removesuffix("@").partition(":")[2]
    yield from (password, unquote(password))
    yield from (dsn.parameters.get(name, "") for name in ("password", "sslpassword"))


def without(hidden: Collection[str], value: Any) -> Any:
    """A value of JSON, with these texts left out of every text in it."""
    if isinstance(value, str):
        for secret in sorted(hidden, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {without(hidden, name): without(hidden, member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [without(hidden, member) for member in value]
    return value
