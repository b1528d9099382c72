"""Tests that every benchmark runs, with few events. A benchmark fails if a row, a ledger or a count is wrong. No figure
is tested, because figures depend on the machine.
"""

import os

import pytest

from tests.support import program
from tests.support.chart import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "command",
    [
        "bench --events 50000 --rounds 1",
        "bench.days --sizes 60000",
        "bench.growth --sizes 0,20000",
        "bench.replicas --events 10000 --rate 100",
        "bench.shapes --rounds 1",
        "bench.traces --traces 100 --rounds 1",
    ],
)
def test_a_benchmark_runs(command: str) -> None:
    """It ends with 0."""
    module, *arguments = command.split()
    done = program.run(module, *arguments, environment={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=880)
    assert done.returncode == 0, done.stderr
