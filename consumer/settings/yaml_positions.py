"""YAML in which every value knows its line, so that a message can name the place. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

Path = tuple[int | str, ...]
# PyYAML quotes names of the text, which may be another file than was meant; a single character says what is wrong.
_QUOTED = re.compile(r" '[^']{2,}'")


class YamlError(Exception):
    """The text is not YAML, or says something twice; the message says in which line."""


@dataclass(frozen=True)
class Document:
    """What a text says, and in which line each value of it begins, counted from 1."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of a value; of the nearest one around it where it is not there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: bytes) -> Document:
    """The text's one document, plain values only.

    :raises YamlError: it is not YAML, a key stands twice, or a tag asks for more than plain values
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
    """Numbers with a point as Decimal: as a binary fraction, 0.1 would be another number."""


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
                raise yaml.MarkedYAMLError(problem=f"{name} stands there twice", problem_mark=key.start_mark)
            seen.add(name)
            yield from _lines(member, (*path, name))
