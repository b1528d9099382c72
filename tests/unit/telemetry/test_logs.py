"""Tests the log lines for people and for machines, and the limit on lines of libraries."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from consumer.settings.model import Log
from consumer.telemetry import logs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the filter's clock by one that a test moves."""
    time = SimpleNamespace(now=500.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def line(message: str, *arguments: Any, name: str = "aiokafka.cluster") -> logging.LogRecord:
    """Return a log line of a library."""
    return logging.LogRecord(name, logging.ERROR, "x.py", 1, message, arguments, None)


# ── repeated lines ──


def test_a_repeated_line_is_suppressed(clock: Any) -> None:
    """While a broker is unavailable, aiokafka logs the same line hundreds of times a second."""
    once = logs.OncePerOutage()
    assert [once.filter(line("no broker %s", number)) for number in range(100)] == [True] + [False] * 99


def test_the_next_line_states_how_many_were_suppressed(clock: Any) -> None:
    """An outage gives one line with its count; its arguments still fit."""
    once = logs.OncePerOutage()
    for _ in range(5):
        once.filter(line("no broker %s", 1))
    clock.now += logs.QUIET_SECONDS
    later = line("no broker %s", 2)
    assert once.filter(later)
    assert later.getMessage() == "no broker 2 (and 4 more times)"
    clock.now += logs.QUIET_SECONDS
    last = line("no broker %s", 3)
    assert once.filter(last)
    assert last.getMessage() == "no broker 3"


def test_a_line_that_repeats_without_a_pause_is_logged_once_an_hour(clock: Any) -> None:
    """A line that repeats for an hour is logged once; after an hour it is logged again as a reminder."""
    once = logs.OncePerOutage()
    passed = 0
    while clock.now < 500 + logs.REMIND_SECONDS:
        passed += once.filter(line("no broker %s", 1))
        clock.now += 1
    assert passed == 1
    reminder = line("no broker %s", 1)
    assert once.filter(reminder)
    assert "and 3599 more times" in reminder.getMessage()


def test_every_line_is_counted(clock: Any) -> None:
    """Suppressed lines count too."""
    once, counted = logs.OncePerOutage(), []
    once.count = lambda: counted.append(1)
    for _ in range(7):
        once.filter(line("no broker"))
    assert len(counted) == 7


def test_other_lines_pass(clock: Any) -> None:
    """Lines differ by logger and by text."""
    once = logs.OncePerOutage()
    lines = [line("a"), line("b"), line("a", name="asyncpg"), line("100%")]
    assert [once.filter(one) for one in lines] == [True] * 4


def test_its_memory_is_bounded(clock: Any) -> None:
    """A library that logs a new text every time must not fill the memory."""
    once = logs.OncePerOutage()
    for number in range(5000):
        assert once.filter(line(f"line {number}"))
    assert len(once._lines) <= 1000


# ── output ──


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the text on standard error. Standard output must be empty, because it is for results."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("form", ["json", "auto"])
def test_machines_get_one_json_object_in_each_line(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """This is also the default if standard error is not a terminal; level and UTC time are included."""
    logs.configure(Log(format=form))
    structlog.get_logger("ragledger").warning("dead_letters", not_json=3, text="日本\n")
    (text,) = said(capsys)
    entry = json.loads(text)
    assert (entry["event"], entry["level"], entry["not_json"]) == ("dead_letters", "warning", 3)
    assert entry["text"] == "日本\n"
    assert entry["timestamp"].endswith("Z")


def test_people_get_a_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the same facts."""
    logs.configure(Log(format="console"))
    structlog.get_logger("ragledger").info("assigned", partitions=["t/0"])
    (text,) = said(capsys)
    assert "assigned" in text
    assert "t/0" in text
    assert not text.startswith("{")


def test_lines_below_the_level_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """This holds for our lines and those of libraries."""
    logs.configure(Log(level="ERROR", format="json"))
    structlog.get_logger("ragledger").warning("quiet")
    structlog.get_logger("ragledger").error("loud")
    logging.getLogger("aiokafka").warning("quiet")
    assert [json.loads(text)["event"] for text in said(capsys)] == ["loud"]


def test_libraries_log_warnings_and_errors_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Their information lines are not logged, even at our level DEBUG."""
    logs.configure(Log(level="DEBUG", format="json"))
    structlog.get_logger("ragledger").debug("detail")
    logging.getLogger("aiokafka.consumer").info("noise")
    for _ in range(50):
        logging.getLogger("aiokafka.consumer").error("no broker %s", 7)
    entries = [json.loads(text) for text in said(capsys)]
    assert [entry["event"] for entry in entries] == ["detail", "no broker 7"]
    assert (entries[1]["logger"], entries[1]["level"]) == ("aiokafka.consumer", "error")


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For machines, the traceback is a member of the object."""
    logs.configure(Log(format="json"))
    try:
        raise ValueError("a bug")
    except ValueError:
        structlog.get_logger("ragledger").exception("failed")
        logging.getLogger("asyncio").exception("failed too")
    first, second = (json.loads(text) for text in said(capsys))
    assert "ValueError: a bug" in first["exception"]
    assert "ValueError: a bug" in second["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.filterwarnings("error")
def test_no_traceback_shows_the_values_of_variables(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Variables hold events, passwords and DSNs."""
    logs.configure(Log(format=form))
    password = "hunter2" * 2
    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger("ragledger").exception("failed")
        logging.getLogger("asyncio").exception("failed too")
    text = "\n".join(said(capsys))
    assert text.count("ValueError: 14") == 2
    assert "hunter2hunter2" not in text


def test_configuring_twice_logs_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that calls another one must not duplicate the log."""
    logs.configure(Log(format="json"))
    logs.configure(Log(format="json"))
    logging.getLogger("asyncpg").warning("once")
    assert len(said(capsys)) == 1
