"""Parses YAML, and keeps the line of every value for messages. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

Path = tuple[int | str, ...]
# PyYAML quotes names from the text, which may be a wrong, secret file. A quoted single character is kept.
_QUOTED = re.compile(r" '[^']{2,}'")


class YamlError(Exception):
    """The text is not YAML, or has a duplicate key. The message names the line."""


@dataclass(frozen=True)
class Document:
    """The value of a text, and the line in which each part of it begins, counted from 1."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Return the line of a value; if the value is missing, the line of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: bytes) -> Document:
    """Parse the only document of a text, with plain values only.

    :raises YamlError: it is not YAML, a key is duplicate, or a tag requires more than plain values
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines = dict(_lines(node, ())) if node is not None else {}
        return Document(yaml.load(text, Loader=_Loader), lines)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _QUOTED.sub("", error.problem or error.context or "")
        raise YamlError(f"line {mark.line + 1 if mark else 1}: {problem}") from None
    except RecursionError:
        raise YamlError("line 1: it refers to itself") from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise YamlError(_QUOTED.sub("", " ".join(str(error).split()))) from None


class _Loader(yaml.SafeLoader):
    """Loads numbers with a decimal point as Decimal, because a binary float cannot represent 0.1 exactly."""


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> Decimal | float:
    try:
        return Decimal(str(node.value).replace("_", ""))
    except InvalidOperation:  # YAML writes infinity as .inf, and 1:30.5 for 90.5
        return float(loader.construct_yaml_float(node))


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


def _lines(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, member in enumerate(node.value):
            yield from _lines(member, (*path, number))
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, member in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is a duplicate key", problem_mark=key.start_mark)
            seen.add(name)
            yield from _lines(member, (*path, name))
