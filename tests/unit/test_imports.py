"""Tests that every module can be imported first."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

PACKAGE = "consumer.admin"
IMPORT_EACH = """
import importlib, sys
package, *names = sys.argv[1:]
for name in names:
    for loaded in [one for one in sys.modules if f"{one}.".startswith(f"{package}.")]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def modules(package: str) -> list[str]:
    """Return the modules of a package of the service."""
    path = importlib.import_module(package).__path__
    return [one.name for one in pkgutil.walk_packages(path, f"{package}.") if not one.name.endswith("__main__")]


@pytest.mark.thorough
def test_each_module_of_the_commands_can_be_imported_first() -> None:
    """Modules that import each other fail only for some first import, such as that of one test file alone."""
    command = [sys.executable, "-c", IMPORT_EACH, PACKAGE, *modules(PACKAGE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
