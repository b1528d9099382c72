"""What a look at one thing has found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"  # something must be done
    WARNING = "warning"  # something should be done
    NOTE = "note"  # good to know
    OK = "ok"  # as it should be


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: which check it is of, what was found, and the very command or statement that mends it."""

    check: str
    severity: Severity
    found: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Every finding, the worst first, else in the order of the checks."""

    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether nothing must be done."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def report(findings: Sequence[Finding]) -> Report:
    """Put the findings into their order."""
    order = list(Severity)
    return Report(sorted(findings, key=lambda finding: order.index(finding.severity)))


def error(check: str, found: str, fix: str) -> Finding:
    """Something must be done."""
    return Finding(check, Severity.ERROR, found, fix)


def warning(check: str, found: str, fix: str) -> Finding:
    """Something should be done."""
    return Finding(check, Severity.WARNING, found, fix)


def note(check: str, found: str, fix: str | None = None) -> Finding:
    """Good to know."""
    return Finding(check, Severity.NOTE, found, fix)


def fine(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, Severity.OK, found)
