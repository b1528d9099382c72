"""Tests which files a migration runs."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from consumer.admin.migrate.errors import ChangedFileError, UnknownVersionError
from consumer.admin.migrate.files import Migration, Script
from consumer.admin.migrate.planning import Applied, State, assess, to_apply, to_roll_back


def migration(version: int, *requires: str) -> Migration:
    script = Script(f"{version:04}_m.sql", f"sum{version}", ())
    return Migration(version, f"{version:04}_m", script, script, requires)


def applied(version: int, checksum: str | None = None) -> Applied:
    when = datetime(2025, 10, 29, tzinfo=UTC)
    return Applied(version, f"{version:04}_m", checksum or f"sum{version}", when, "owner", 1)


MIGRATIONS = (migration(2), migration(3), migration(4, "users", "materials"), migration(5))


def history(*versions: int, **changed: str) -> Mapping[int, Applied]:
    return {version: applied(version) for version in versions} | {
        int(version.removeprefix("v")): applied(int(version.removeprefix("v")), checksum)
        for version, checksum in changed.items()
    }


def states(known: Mapping[int, Applied], missing: set[str]) -> list[str]:
    return [f"{status.version} {status.state}" for status in assess(MIGRATIONS, known, missing)]


def chosen(known: Mapping[int, Applied], missing: set[str], to: int | None = None) -> list[int]:
    return [m.version for m, _ in to_apply(MIGRATIONS, assess(MIGRATIONS, known, missing), to)]


def test_a_new_database_has_everything_pending() -> None:
    """If nothing is recorded and no table is missing, all files are pending."""
    assert states({}, set()) == ["2 pending", "3 pending", "4 pending", "5 pending"]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"users"}, "table users is missing"),
        ({"materials"}, "table materials is missing"),
        ({"users", "materials"}, "tables users and materials are missing"),
    ],
)
def test_an_optional_version_is_skipped_with_the_reason(missing: set[str], reason: str) -> None:
    """The reason names the missing tables; `up` reports it and continues."""
    status = assess(MIGRATIONS, history(2), missing)[2]
    assert (status.state, status.reason) == (State.SKIPPED, reason)
    assert chosen(history(2), missing) == [3, 4, 5]


def test_an_optional_version_runs_after_its_successors() -> None:
    """After it was skipped, it is pending as soon as its tables exist."""
    assert states(history(2, 3, 5), set()) == ["2 applied", "3 applied", "4 pending", "5 applied"]


def test_an_applied_version_stays_applied_without_its_tables() -> None:
    """Its state does not depend on the tables it required."""
    assert states(history(2, 3, 4, 5), {"users"})[2] == "4 applied"


def test_up_stops_at_the_given_version() -> None:
    """It includes that version."""
    assert chosen({}, set(), to=3) == [2, 3]


@pytest.mark.parametrize("to", [0, 1, 6])
def test_up_refuses_an_unknown_version(to: int) -> None:
    """The message lists the existing versions."""
    with pytest.raises(UnknownVersionError, match="0002, 0003, 0004, 0005"):
        chosen({}, set(), to=to)


def test_a_changed_file_is_refused() -> None:
    """The message has both checksums and what to do, even if the changed file is after `to`."""
    known = history(2, v3="other")
    assert states(known, set())[1] == "3 changed"
    with pytest.raises(ChangedFileError, match=r"(?s)0003_m\.sql.*sha256 other.*sha256 sum3.*Restore the applied file"):
        chosen(known, set(), to=2)


def test_up_ignores_versions_of_a_newer_release() -> None:
    """They are shown and left alone."""
    assert states(history(2, 3, 4, 5, 9), set())[-1] == "9 unknown"
    assert chosen(history(2, 3, 4, 5, 9), set()) == []


@pytest.mark.parametrize(("to", "expected"), [(0, [5, 4, 3, 2]), (1, [5, 4, 3, 2]), (3, [5, 4]), (5, [])])
def test_down_runs_every_rollback_above(to: int, expected: list[int]) -> None:
    """It runs them newest first, also those that were never recorded."""
    assert [m.version for m in to_roll_back(MIGRATIONS, history(2), to)] == expected


@pytest.mark.parametrize("to", [-1, 6])
def test_down_refuses_an_unknown_version(to: int) -> None:
    """One can go back only to 0 or to an existing version."""
    with pytest.raises(UnknownVersionError, match="choose 0 for none"):
        to_roll_back(MIGRATIONS, {}, to)


def test_down_refuses_if_a_newer_release_has_applied_files() -> None:
    """Without the newer rollback files, the order would be wrong."""
    with pytest.raises(UnknownVersionError, match="This database has 0009"):
        to_roll_back(MIGRATIONS, history(2, 9), 0)
