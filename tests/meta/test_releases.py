"""How releases are made and run: the workflows, the notes, the unit of systemd."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import ragledger_client
from consumer.settings.model import Settings, known_variables
from consumer.settings.sources import OUTSIDE
from tests.support.chart import CHART, ROOT, program

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EVERY_WORKFLOW = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
RELEASE: Mapping[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
UNIT = ROOT / "deploy" / "systemd" / "ragledger.service"
# Of ten; what the network needs, and that there is no limit on addresses, is what is left.
EXPOSURE = 1.3


def run(*command: str | Path) -> None:
    """Run a command that has to end well."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ── workflows ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_workflows_are_right() -> None:
    """Syntax, expressions, the inputs of actions."""
    run(program("actionlint"), *WORKFLOWS)


def test_the_workflows_are_safe() -> None:
    """No injected expression, no credential that stays behind, no right that is too much."""
    zizmor = Path(sys.executable).parent / "zizmor"
    run(zizmor, "--offline", "--no-progress", "--min-severity", "low", *WORKFLOWS)


@EVERY_WORKFLOW
def test_actions_are_pinned_by_digest(file: Path) -> None:
    """Each is a commit, with its version beside it."""
    used = [line for line in re.findall(r"uses: (.+)", file.read_text("utf-8")) if not line.startswith("./")]
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@EVERY_WORKFLOW
def test_nothing_may_be_written_without_need(file: Path) -> None:
    """A workflow has no right to write; a job asks for what it needs."""
    workflow = yaml.safe_load(file.read_text("utf-8"))
    assert set(workflow["permissions"].values()) <= {"read"}


def test_a_release_is_tested_first_and_announced_last() -> None:
    """CI, then what is built, then what cannot be taken back."""
    needs = {name: job.get("needs") for name, job in RELEASE["jobs"].items()}
    order = ["ci", "build", "image", "chart", "pypi", "release"]
    assert needs == dict(zip(order, [None, *order], strict=False))


def test_the_client_is_released_with_the_service() -> None:
    """Under the same version; both are built into the directory whose files are published."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert ragledger_client.__version__ == project["version"]
    (script,) = [step["run"] for step in RELEASE["jobs"]["build"]["steps"] if step.get("name") == "Build"]
    assert re.findall(r"hatchling build --directory (\S+)", script) == ["dist", "../dist"]
    assert "cd client && " in script


def test_the_published_chart_takes_the_published_image() -> None:
    """The line that the workflow replaces is there, once."""
    (script,) = [step["run"] for step in RELEASE["jobs"]["chart"]["steps"] if "helm push" in step.get("run", "")]
    pattern = re.search(r"s\|(\^[^|]+\$)\|", script)
    assert pattern
    assert len(re.findall(pattern[1], (CHART / "values.yaml").read_text("utf-8"), re.MULTILINE)) == 1


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_notes_are_the_section_of_the_changelog(tmp_path: Path) -> None:
    """Up to the next version; none where there is no such section, or where the tag is another version's."""
    script = tmp_path / "docs" / "release_notes.py"
    script.parent.mkdir()
    shutil.copy(ROOT / "docs" / "release_notes.py", script)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.1.0"\n')
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [1.1.0] - 2026-01-31\n\n- New.\n\n## [1.0.0] - 2026-01-01\n\n- Old.\n")

    def notes(version: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), version]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert notes("1.1.0").stdout == "- New.\n"
    assert "the tag says 1.0.0, pyproject.toml 1.1.0" in notes("1.0.0").stderr
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- New.\n")
    assert notes("1.1.0").returncode == 1
    assert "no section [1.1.0]" in notes("1.1.0").stderr


# ── systemd ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is there."""
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text("utf-8").replace("/opt/ragledger/bin/ragledger", sys.executable))
    return file


def test_systemd_takes_the_unit(unit: Path) -> None:
    """Every directive is one, and the service is hardly exposed."""
    run(program("systemd-analyze"), "verify", "--man=no", unit)
    security = [program("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    run(*security, f"--threshold={int(EXPOSURE * 10)}", unit)


def test_the_unit_knows_the_service() -> None:
    """Its variables are settings, and it waits for longer than a stop may take."""
    text = UNIT.read_text("utf-8")
    named = set(re.findall(r"\bRAGLEDGER_[A-Z_]+", text))
    assert named <= known_variables().keys() | OUTSIDE
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop
    assert int(stop[1]) > Settings().shutdown.timeout_s + 10
