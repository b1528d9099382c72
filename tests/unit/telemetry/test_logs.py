"""Logs: a line for people or for machines, and the libraries kept from flooding it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from consumer.settings.model import Log
from consumer.telemetry import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The filter's clock, which moves only when told to."""
    time = SimpleNamespace(now=500.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def line(message: str, *arguments: Any, name: str = "aiokafka.cluster") -> logging.LogRecord:
    """A line that a library says."""
    return logging.LogRecord(name, logging.ERROR, "x.py", 1, message, arguments, None)


# ── lines that repeat ──


def test_a_repeated_line_is_held_back(clock: Any) -> None:
    """aiokafka says the same hundreds of times a second while a broker is away."""
    once = logs.OncePerOutage()
    assert [once.filter(line("no broker %s", number)) for number in range(100)] == [True] + [False] * 99


def test_the_next_one_says_how_many_were_held_back(clock: Any) -> None:
    """One line per outage, with its count; its arguments still fit."""
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


def test_a_line_that_never_ceases_is_said_once(clock: Any) -> None:
    """An outage of an hour is one line, not one in half a minute; after that it is said again, as a reminder."""
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
    """Also those that nobody gets to see."""
    once, counted = logs.OncePerOutage(), []
    once.count = lambda: counted.append(1)
    for _ in range(7):
        once.filter(line("no broker"))
    assert len(counted) == 7


def test_other_lines_pass(clock: Any) -> None:
    """By logger and by text."""
    once = logs.OncePerOutage()
    lines = [line("a"), line("b"), line("a", name="asyncpg"), line("100%")]
    assert [once.filter(one) for one in lines] == [True] * 4


def test_what_it_remembers_is_bounded(clock: Any) -> None:
    """A library that says something new every time must not fill the memory."""
    once = logs.OncePerOutage()
    for number in range(5000):
        assert once.filter(line(f"line {number}"))
    assert len(once._lines) <= 1000


# ── what is said ──


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is on standard error; nothing may be on standard output, which belongs to results."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


@pytest.mark.parametrize("form", ["json", "auto"])
def test_machines_get_a_json_object_a_line(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Also by default where standard error is no terminal; with level and time in UTC."""
    logs.configure(Log(format=form))
    structlog.get_logger("ragledger").warning("dead_letters", not_json=3, text="日本\n")
    (text,) = said(capsys)
    entry = json.loads(text)
    assert (entry["event"], entry["level"], entry["not_json"]) == ("dead_letters", "warning", 3)
    assert entry["text"] == "日本\n"
    assert entry["timestamp"].endswith("Z")


def test_people_get_a_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same facts."""
    logs.configure(Log(format="console"))
    structlog.get_logger("ragledger").info("assigned", partitions=["t/0"])
    (text,) = said(capsys)
    assert "assigned" in text
    assert "t/0" in text
    assert not text.startswith("{")


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Of ours and of the libraries'."""
    logs.configure(Log(level="ERROR", format="json"))
    structlog.get_logger("ragledger").warning("quiet")
    structlog.get_logger("ragledger").error("loud")
    logging.getLogger("aiokafka").warning("quiet")
    assert [json.loads(text)["event"] for text in said(capsys)] == ["loud"]


def test_libraries_speak_from_warnings_on_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Their information is noise, also at level DEBUG of ours."""
    logs.configure(Log(level="DEBUG", format="json"))
    structlog.get_logger("ragledger").debug("detail")
    logging.getLogger("aiokafka.consumer").info("noise")
    for _ in range(50):
        logging.getLogger("aiokafka.consumer").error("no broker %s", 7)
    entries = [json.loads(text) for text in said(capsys)]
    assert [entry["event"] for entry in entries] == ["detail", "no broker 7"]
    assert (entries[1]["logger"], entries[1]["level"]) == ("aiokafka.consumer", "error")


def test_an_exception_is_said_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: the traceback is a member, not many lines."""
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
def test_no_traceback_shows_what_variables_hold(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """They hold events, passwords, DSNs."""
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


def test_configuring_twice_says_things_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that calls another one does not double the log."""
    logs.configure(Log(format="json"))
    logs.configure(Log(format="json"))
    logging.getLogger("asyncpg").warning("once")
    assert len(said(capsys)) == 1
