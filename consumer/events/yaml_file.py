"""Reads YAML files of settings. Errors name the line of each mistake. PURE except for reading the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from consumer.errors import YamlFileError
from consumer.events.kind import path_text
from consumer.settings.given import shown_path

_Place = tuple[int | str, ...]
_Model = TypeVar("_Model", bound=BaseModel)
# PyYAML quotes names from the text, which may be a wrong, secret file. A quoted single character is kept.
_QUOTED = re.compile(r" '[^']{2,}'")


_SAYS = {
    "missing": "is missing",
    "extra_forbidden": "there is no such key",
    "model_type": "must be a mapping with keys",
}


def read(path: Path, model: type[_Model], says: Mapping[str, str]) -> _Model:
    """Return the content of a file. An empty file is an empty mapping.

    :param says: messages for the mistakes of this model, by pydantic's type of error
    :raises YamlFileError: the file is missing or wrong
    """
    try:
        document = _parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise YamlFileError(f"{shown_path(path)}: cannot be read: {getattr(error, 'strerror', error)}") from None
    except _YamlError as error:
        raise YamlFileError(f"{path}: not YAML: {error}") from None
    try:
        return model.model_validate({} if document.value is None else document.value)
    except ValidationError as error:
        problems = _without_consequences(error.errors())
        raise YamlFileError("\n".join(_explain(path, document, one, {**_SAYS, **says}) for one in problems)) from None


def _without_consequences(problems: Sequence[Any]) -> Sequence[Any]:
    """Leave out the error that a list is too short if some of its members are wrong, because pydantic does not count
    them.
    """
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short" or not any(_is_within(place, problem["loc"]) for place in places)
    ]


def _is_within(place: _Place, around: _Place) -> bool:
    return len(place) > len(around) and place[: len(around)] == around


def _explain(path: Path, document: _Document, problem: Any, says: Mapping[str, str]) -> str:
    """Return line, place and problem, such as prices.yml, line 7: models[1].prices[0].input: must be a number"""
    place = path_text(tuple(step for step in problem["loc"] if step != "[key]"))
    text = says.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    text = text.replace("Input should be", "must be")
    return f"{path}, line {document.line(problem['loc'])}: {f'{place}: ' if place else ''}{text}"


class _YamlError(Exception):
    """The text is not YAML, or has a duplicate key. The message names the line."""


@dataclass(frozen=True)
class _Document:
    """The value of a text, and the line in which each part of it begins, counted from 1."""

    value: Any
    lines: Mapping[_Place, int]

    def line(self, place: _Place) -> int:
        """Return the line of a value; if the value is missing, the line of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def _parse(text: bytes) -> _Document:
    """Parse the only document of a text, with plain values only.

    :raises _YamlError: it is not YAML, a key is duplicate, or a tag requires more than plain values
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines = dict(_lines(node, ())) if node is not None else {}
        return _Document(yaml.load(text, Loader=_Loader), lines)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _QUOTED.sub("", error.problem or error.context or "")
        raise _YamlError(f"line {mark.line + 1 if mark else 1}: {problem}") from None
    except RecursionError:
        raise _YamlError("line 1: it refers to itself") from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise _YamlError(_QUOTED.sub("", " ".join(str(error).split()))) from None


class _Loader(yaml.SafeLoader):
    """Loads numbers with a decimal point as Decimal, because a binary float cannot represent 0.1 exactly."""


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> Decimal | float:
    try:
        return Decimal(str(node.value).replace("_", ""))
    except InvalidOperation:  # YAML writes infinity as .inf, and 1:30.5 for 90.5
        return float(loader.construct_yaml_float(node))


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


def _lines(node: yaml.Node, place: _Place) -> Iterator[tuple[_Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, member in enumerate(node.value):
            yield from _lines(member, (*place, number))
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, member in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is a duplicate key", problem_mark=key.start_mark)
            seen.add(name)
            yield from _lines(member, (*place, name))
