"""A cache of results by value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

REMEMBERED = 50_000
_LONGEST_REMEMBERED = 255  # no model name is longer; longer numbers are valid, but they do not repeat


class Memory(dict[Any, Any]):
    """The results of a function by its argument. The size is limited, whatever producers send."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __missing__(self, value: Any) -> Any:
        made = self._make(value)
        if not isinstance(value, bytes | str) or len(value) <= _LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[value] = made
        return made

    def of(self, values: Iterable[Any]) -> list[Any]:
        """The result for each value. For known values no Python function is called."""
        return list(map(self.__getitem__, values))
