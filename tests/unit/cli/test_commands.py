"""Tests that commands are imported only when they are used."""

import subprocess
import sys

import pytest

ASK = """
import sys
from consumer.__main__ import main
sys.argv = ["ragledger", *sys.argv[1:]]
try:
    main()
finally:
    print(sorted({"aiohttp", "aiokafka"} & sys.modules.keys()), file=sys.stderr)
"""


def imported(*arguments: str) -> str:
    """Return the libraries of the service that a command imports before it begins."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.strip()


@pytest.mark.parametrize("command", ["migrate", "partition", "rollup", "config", "erase", "slo", "generate"])
def test_a_database_command_imports_no_library_of_the_service(command: str) -> None:
    """Importing them takes longer than most of these commands run."""
    assert imported(command) == "[]"


def test_the_service_imports_them() -> None:
    """Without this, the test above could not fail."""
    assert imported("run") == "['aiohttp', 'aiokafka']"
