"""What `make test` runs: everything but the long suite of faults."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ONLY_A_SAMPLE_OF = "tests/faults"


def test_every_directory_of_tests_is_run() -> None:
    """A new one does not go unnoticed; of the faults there is a sample."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    paths = project["tool"]["pytest"]["ini_options"]["testpaths"]
    directories = {str(file.parent.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py")}
    tops = {"/".join(directory.split("/")[:2]) for directory in directories}
    assert tops - {ONLY_A_SAMPLE_OF} == {path for path in paths if not path.startswith(ONLY_A_SAMPLE_OF)}
    assert [path for path in paths if path.startswith(ONLY_A_SAMPLE_OF)]
    assert all((ROOT / path).exists() for path in paths)
