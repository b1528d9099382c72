"""Stacks of tasks by file, line and function. They never contain the values of variables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any


def task_stacks() -> Sequence[str]:
    """Return the stack of each task of the running loop, innermost frame last."""
    return sorted(f"{task.get_name()}: {' > '.join(_places(task.get_coro()))}" for task in asyncio.all_tasks())


def _places(awaitable: Any) -> Iterator[str]:
    """Yield the places of all frames. A task has only its outermost frame; each awaits the next one."""
    while awaitable is not None:
        frame = _attribute(awaitable, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield _place(frame)
        awaitable = _attribute(awaitable, "cr_await", "gi_yieldfrom", "ag_await")


def _attribute(awaitable: Any, *names: str) -> Any:
    return next((getattr(awaitable, name) for name in names if hasattr(awaitable, name)), None)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"
