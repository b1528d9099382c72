"""Tests programs that print a token: no shell runs them, they have a time limit, and their output is never shown."""

import asyncio
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest
import uvloop

from consumer.credentials import programs
from consumer.credentials.errors import CredentialsError
from tests.support.service import eventually

SETTING = "RAGLEDGER_POSTGRES__PASSWORD_COMMAND"
SECRET = "Zq7K"


def python(code: str) -> str:
    """Return a command that runs this code."""
    return shlex.join([sys.executable, "-c", code])


def printed(command: str) -> str:
    """Return the output of the command, with the event loop of the service."""
    return uvloop.run(programs.printed_by(command, SETTING))


def problem(command: str) -> str:
    """Return the error for a missing token."""
    with pytest.raises(CredentialsError) as caught:
        printed(command)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_the_line_is_the_token(end: str) -> None:
    """The line break is removed, if there is one."""
    assert printed(python(f"print('tok en', end={end!r})")) == "tok en"


def test_arguments_are_taken_word_for_word() -> None:
    """No shell expands the arguments."""
    assert printed(f"{python('import sys; print(sys.argv[1:])')} '$HOME' '*' 'a b'") == "['$HOME', '*', 'a b']"


def test_a_program_that_fails_is_named_with_its_exit_code() -> None:
    """The error does not quote the program's output."""
    code = f"import sys; print('{SECRET}'); print('{SECRET}', file=sys.stderr); sys.exit(7)"
    assert (
        problem(python(code))
        == f"{SETTING}: {Path(sys.executable).name} has failed with exit code 7; run it by hand to see why"
    )
    assert "by signal 9" in problem(python("import os; os.kill(os.getpid(), 9)"))


@pytest.mark.parametrize("code", ["pass", f"print('{SECRET}\\n{SECRET}')", f"import os; os.write(1, b'{SECRET}\\xff')"])
def test_an_output_that_is_not_a_token_is_refused(code: str) -> None:
    """The output is empty, has two lines, or is not UTF-8."""
    assert "must print the token alone" in problem(python(code))


def test_a_program_that_prints_for_ever_is_ended() -> None:
    """The rest of the output is not read into memory."""
    started = time.monotonic()
    assert "more than 65536 bytes" in problem(python("while True: print('Zq7K' * 1000)"))
    assert time.monotonic() - started < programs.SECONDS


def test_a_program_that_does_not_end_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The program is killed after the limit, so that no connection waits for it."""
    monkeypatch.setattr(programs, "SECONDS", 3.0)
    pid = tmp_path / "pid"
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    assert "has not ended within 3 s" in problem(shlex.join([sys.executable, str(script)]))
    eventually(lambda: not is_running(int(pid.read_text())), timeout=10, message="the child has ended")


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_program_that_cannot_be_started() -> None:
    """The program existed when the service started."""
    assert "cannot be started: No such file or directory" in problem("/nowhere/program")


def test_the_event_loop_runs_meanwhile() -> None:
    """A slow program does not block the event loop."""

    async def turns() -> int:
        count = 0
        task = asyncio.create_task(programs.printed_by(python("import time; time.sleep(0.3); print('t')"), SETTING))
        while not task.done():
            await asyncio.sleep(0.01)
            count += 1
        assert await task == "t"
        return count

    assert uvloop.run(turns()) > 5
