"""The result of a check, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters, worst first."""

    ERROR = "error"  # must be fixed
    WARNING = "warning"  # should be fixed
    NOTE = "note"  # for information
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: the check, what was found, and the exact command or statement that fixes it."""

    check: str
    severity: Severity
    found: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Every finding, worst first, otherwise in the order of the checks."""

    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def report(findings: Sequence[Finding]) -> Report:
    """Sort the findings."""
    order = list(Severity)
    return Report(sorted(findings, key=lambda finding: order.index(finding.severity)))


def error(check: str, found: str, fix: str) -> Finding:
    """Return a finding that must be fixed."""
    return Finding(check, Severity.ERROR, found, fix)


def warning(check: str, found: str, fix: str) -> Finding:
    """Return a finding that should be fixed."""
    return Finding(check, Severity.WARNING, found, fix)


def note(check: str, found: str, fix: str | None = None) -> Finding:
    """Return a finding for information."""
    return Finding(check, Severity.NOTE, found, fix)


def fine(check: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Severity.OK, found)
