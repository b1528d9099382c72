"""Tests what commands print of an error."""

import errno
import os

import pytest
import typer

from consumer.cli.output import command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "standard output cannot be written: No space left on device",
        ),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/x"), "[Errno 2] No such file or directory: '/x'"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_disk_names_the_file(capsys: pytest.CaptureFixture[str], error: OSError, said: str) -> None:
    """Standard output too: it may be a file on a full disk."""

    @command
    async def fails() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        fails()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"ragledger: {said}\n"
