"""Reads CPU time and memory of processes from the operating system."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import psutil

_MEMORY_EVERY_S = 0.25


def cpu_seconds(pid: int) -> float:
    """User and system time of one process with all its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def family_cpu_seconds(pid: int, without: Collection[int] = ()) -> float:
    """User and system time of a process and its children, including those that have ended."""
    parent = psutil.Process(pid)
    while True:
        before = parent.cpu_times()
        running = _children_cpu_seconds(parent, without)
        after = parent.cpu_times()
        ended = float(after.children_user + after.children_system)
        # Otherwise a child has ended between two reads, and was counted twice or not at all.
        if ended == before.children_user + before.children_system:
            return running + ended + float(after.user + after.system)


def _children_cpu_seconds(parent: psutil.Process, without: Collection[int]) -> float:
    total = 0.0
    for child in parent.children():
        if child.pid not in without:
            with suppress(psutil.NoSuchProcess):
                total += cpu_seconds(child.pid)
    return total


@dataclass(slots=True)
class Memory:
    """The maximum memory of a process. `resident` includes pages that other processes share; `unique` does not."""

    pid: int
    resident: int = 0
    unique: int = 0
    next_look: float = 0.0

    def look(self) -> None:
        """Take a sample, unless the last one is recent: for each sample, the kernel reads all pages of the process."""
        if time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + _MEMORY_EVERY_S
        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid).memory_full_info()
            self.resident, self.unique = max(self.resident, found.rss), max(self.unique, found.uss)
