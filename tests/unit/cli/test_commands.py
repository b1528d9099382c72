"""Tests that the parts of ragledger and its libraries are imported only when they are used."""

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["migrate", "partition", "rollup", "config", "erase", "slo", "generate"])
def test_a_database_command_imports_no_library_of_the_service(command: str) -> None:
    """Importing them takes longer than most of these commands run."""
    assert imported(command) == "[]"


@pytest.mark.thorough
def test_the_service_imports_them() -> None:
    """Without this, the test above could not fail."""
    assert imported("run") == "['aiohttp', 'aiokafka']"


BUILD = """
import sys
from consumer.cli.service import run
from consumer.service import Service
from consumer.settings.loading import load
Service(load())
print(*sys.modules)
"""
# The page, whose first request imports it, commands, and the parts that are off by default.
UNUSED = (
    *("consumer.admin", "consumer.devstack", "consumer.generator", "consumer.http.page"),
    *("consumer.events.otlp.wire", "opentelemetry", "google.protobuf"),
    *("consumer.events.price_file", "consumer.events.yaml_file", "yaml"),
    *("consumer.maintenance.retention", "consumer.maintenance.table_partitions", "pyarrow", "fsspec"),
)


def unused_parts(**settings: str) -> set[str]:
    """Return which of :data:`UNUSED` a service with these settings has imported when it is built."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAGLEDGER_")}
    done = subprocess.run(
        [sys.executable, "-c", BUILD], env=others | settings, capture_output=True, text=True, timeout=60, check=True
    )
    return set(UNUSED) & set(done.stdout.split())


@pytest.mark.thorough
def test_an_idle_service_imports_only_what_it_needs() -> None:
    """Every import takes CPU and memory of every start."""
    assert unused_parts() == set()


@pytest.mark.thorough
def test_a_part_that_is_on_is_imported_at_the_start(tmp_path: Path) -> None:
    """Then a fault of it ends the start, not a running service."""
    prices = tmp_path / "prices.yml"
    prices.write_text("models:\n- match: m\n  prices:\n  - input: 1\n    output: 1\n")
    found = unused_parts(
        RAGLEDGER_PRICES__FILE=str(prices), RAGLEDGER_RETENTION__INTERVAL_S="60", RAGLEDGER_TOPICS__OTLP_SPANS="otlp"
    )
    assert found >= {"yaml", "consumer.events.price_file", "consumer.maintenance.retention", "opentelemetry"}
