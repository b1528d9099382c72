"""Tests that `make test` and `make test-slow` run all tests except the long fault suite, each in exactly one
of them.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ONLY_A_SAMPLE_OF = "tests/faults"


def test_every_directory_of_tests_is_run() -> None:
    """A new directory is noticed; a sample of the faults is included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    paths = project["tool"]["pytest"]["ini_options"]["testpaths"]
    directories = {str(file.parent.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py")}
    tops = {"/".join(directory.split("/")[:2]) for directory in directories}
    assert tops - {ONLY_A_SAMPLE_OF} == {path for path in paths if not path.startswith(ONLY_A_SAMPLE_OF)}
    assert [path for path in paths if path.startswith(ONLY_A_SAMPLE_OF)]
    assert all((ROOT / path).exists() for path in paths)


def recipe(target: str) -> tuple[list[str], str]:
    """Return the dependencies and commands of a target of the Makefile."""
    found = re.search(
        rf"^{target}:([^#\n]*)[^\n]*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
    )
    assert found, target
    return found[1].split(), found[2].strip()


def test_every_test_is_in_exactly_one_of_the_two() -> None:
    """Only the marker decides; `make test-all` runs both."""
    assert recipe("test") == (["setup"], '$(PYTEST) -m "not slow" $(ARGS)')
    assert recipe("test-slow") == (["setup"], "$(PYTEST) -m slow $(ARGS)")
    assert recipe("test-all") == (["test", "test-slow"], "")


def test_ci_runs_both_without_retries() -> None:
    """A test that fails once has failed: the cause is in the test or in the product."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.findall(r"^make .*", script, re.MULTILINE) == ["make check", "make --keep-going test test-all"]
    assert "last-failed" not in script
