"""Tests which lines of a log are put into a bundle: ours and those of our libraries, without text that an error may
quote.
"""

import json
from typing import Any

from consumer.admin.doctor.log_lines import MOST_LINES, last_lines


def line(event: str = "assigned", **more: Any) -> bytes:
    """Return a line of the service's log."""
    return json.dumps({"event": event, "level": "info", "timestamp": "2026-01-31T09:30:00Z", **more}).encode() + b"\n"


def test_our_lines_are_kept_with_any_prefix() -> None:
    """A prefix such as that of `docker compose logs` is allowed."""
    found = last_lines([line(), b"ragledger-1  | " + line("claimed", partitions=[1]), b"\n"])
    assert [one["event"] for one in found.lines] == ["assigned", "claimed"]
    assert found.left_out == 0


def test_lines_of_libraries_are_kept() -> None:
    """The event of such a line is a sentence."""
    (found,) = last_lines([line("Heartbeat failed: [Error 15]", logger="aiokafka.consumer.group_coordinator")]).lines
    assert found["logger"] == "aiokafka.consumer.group_coordinator"


def test_other_lines_are_counted_and_left_out() -> None:
    """They come from another program or from a person's terminal, so their content is unknown."""
    others = [
        b"2026-01-31 [info     ] assigned  partitions=1\n",
        b"What is the answer?\n",
        b'{"query": "What is the answer?"}\n',
        line("What is the answer?"),
        line("What is the answer?", logger="app"),
        b"[" * 100_000 + b"{\n",
        b"\xff{\n",
        b"{" * 100_000,
    ]
    found = last_lines(others)
    assert (list(found.lines), found.left_out) == ([], len(others))


def test_an_error_keeps_its_kind_and_its_place() -> None:
    """Its message is removed, because it may quote an event."""
    trace = (
        "Traceback (most recent call last):\n"
        '  File "/opt/x.py", line 7, in run\n'
        "    decode('What is the answer?')\n"
        "    ~~~~~~^^^^^^\n"
        "ValueError: What is the answer?\n"
        "What is the answer?\n"
        "\n"
        "During handling of the above exception, another exception occurred:\n"
        "\n"
        "consumer.errors.OperationError: What is the answer?"
    )
    (found,) = last_lines([line("crashed", exception=trace)]).lines
    assert found["exception"] == (
        'Traceback \n  File "/opt/x.py", line 7, in run\nValueError\nconsumer.errors.OperationError'
    ).replace("Traceback ", "Traceback (most recent call last):")


def test_only_the_newest_are_kept() -> None:
    """The length of the log does not matter."""
    found = last_lines(line(number=number) for number in range(MOST_LINES + 10))
    assert (len(found.lines), found.lines[-1]["number"]) == (MOST_LINES, MOST_LINES + 9)
