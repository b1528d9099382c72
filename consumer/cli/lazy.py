"""Imports each command when it is used, because most commands need few of the service's libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


class LazyGroup(TyperGroup):
    """A group of commands. :data:`places` maps each name to `module:attribute`, a function or a Typer."""

    places: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast(Any, _Commands(self.places))  # nothing is ever added


class _Commands(Mapping[str, Any]):
    """Maps a name to its command, which is imported at its first use."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._places[name].partition(":")
        target = getattr(import_module(module), attribute)
        found: Any = get_group(target) if isinstance(target, typer.Typer) else _command_of(target)
        found.name = name
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _command_of(function: Any) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command()(function)
    return get_command(alone)
