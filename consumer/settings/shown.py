"""Returns the settings in force without secrets, and the secrets to remove from other texts."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import unquote

from pydantic import BaseModel, SecretStr

from consumer.settings.given import HIDDEN, may_hold_secret
from consumer.settings.logins import arguments_of
from consumer.settings.model import Settings
from consumer.settings.sources import variable

SHORTEST_SECRET = 4  # a shorter text is a part of many words


class Shown(NamedTuple):
    """A setting: its variable, its value or :data:`HIDDEN`, and its description."""

    variable: str
    value: Any
    meaning: str


def effective(settings: Settings) -> list[Shown]:
    """Return every setting, with secrets hidden."""
    rows = []
    for group_name, group in settings:
        for name, meaning in meanings(type(group)).items():
            rows.append(Shown(variable(group_name, name), _shown(name, getattr(group, name)), meaning))
    return rows


def meanings(group: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring of each setting of a group, in order. Only the source has them, and parsing it is slow."""
    (definition,) = ast.parse(inspect.getsource(group)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for member, docstring in pairwise(definition.body):
        match member, docstring:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))) if name in group.model_fields:
                found[name] = inspect.cleandoc(text)
    return found


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr) or may_hold_secret(value):
        return HIDDEN
    if name.endswith("_command") and value:  # an argument may be a password or a client secret
        program, *arguments = arguments_of(value)
        return f"{program} {HIDDEN}" if arguments else program
    return value


def secrets(settings: Settings) -> Collection[str]:
    """Return every secret of the settings, in every form in which a message may quote it."""
    return {secret for secret in _secrets(settings) if len(secret) >= SHORTEST_SECRET}


def _secrets(settings: Settings) -> Iterator[str]:
    for _, group in settings:
        for name in type(group).model_fields:
            value = getattr(group, name)
            if isinstance(value, SecretStr):
                yield value.get_secret_value()
                yield from value.get_secret_value().split(",")
    if settings.ids.namespace:  # with it, a person can guess ids and test which rows they belong to
        yield str(settings.ids.namespace)
    dsn = settings.postgres.parsed
    password = dsn.credentials.removesuffix("@").partition(":")[2]
    yield from (password, unquote(password))
    yield from (dsn.parameters.get(name, "") for name in ("password", "sslpassword"))


def without(hidden: Collection[str], value: Any) -> Any:
    """Return a JSON value with these texts hidden in all of its strings."""
    if isinstance(value, str):
        for secret in sorted(hidden, key=len, reverse=True):
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {without(hidden, name): without(hidden, member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [without(hidden, member) for member in value]
    return value
