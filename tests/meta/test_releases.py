"""Tests the release workflows, the release notes, and the systemd unit."""

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
from consumer.settings.loading import known_variables
from consumer.settings.model import Settings
from consumer.settings.sources import OUTSIDE
from tests.support.chart import CHART, ROOT, program

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EVERY_WORKFLOW = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
RELEASE: Mapping[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
UNIT = ROOT / "deploy" / "systemd" / "ragledger.service"
# The exposure on systemd's scale to ten. The rest is the network, and that addresses are not limited.
EXPOSURE = 1.3


def run(*command: str | Path) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ── workflows ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_workflows_are_valid() -> None:
    """Syntax, expressions, and inputs of actions are checked."""
    run(program("actionlint"), *WORKFLOWS)


def test_the_workflows_are_safe() -> None:
    """No injected expression, no credential left behind, no unneeded right."""
    zizmor = Path(sys.executable).parent / "zizmor"
    run(zizmor, "--offline", "--no-progress", "--min-severity", "low", *WORKFLOWS)


@EVERY_WORKFLOW
def test_actions_are_pinned_by_digest(file: Path) -> None:
    """Each is a commit, with its version in a comment."""
    used = [line for line in re.findall(r"uses: (.+)", file.read_text("utf-8")) if not line.startswith("./")]
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@EVERY_WORKFLOW
def test_write_permissions_are_requested_only_by_jobs(file: Path) -> None:
    """A workflow has none. Each job requests only the permissions that it needs."""
    workflow = yaml.safe_load(file.read_text("utf-8"))
    assert set(workflow["permissions"].values()) <= {"read"}


def test_a_release_is_tested_first_and_announced_last() -> None:
    """First CI, then the builds, then the steps that cannot be undone."""
    needs = {name: job.get("needs") for name, job in RELEASE["jobs"].items()}
    order = ["ci", "build", "image", "chart", "pypi", "release"]
    assert needs == dict(zip(order, [None, *order], strict=False))


def test_the_client_is_released_with_the_service() -> None:
    """They have one version, and are built into the directory whose files are published."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert ragledger_client.__version__ == project["version"]
    (script,) = [step["run"] for step in RELEASE["jobs"]["build"]["steps"] if step.get("name") == "Build"]
    assert re.findall(r"hatchling build --directory (\S+)", script) == ["dist", "../dist"]
    assert "cd client && " in script


def test_the_published_chart_takes_the_published_image() -> None:
    """The line that the workflow replaces exists once."""
    (script,) = [step["run"] for step in RELEASE["jobs"]["chart"]["steps"] if "helm push" in step.get("run", "")]
    pattern = re.search(r"s\|(\^[^|]+\$)\|", script)
    assert pattern
    assert len(re.findall(pattern[1], (CHART / "values.yaml").read_text("utf-8"), re.MULTILINE)) == 1


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_notes_are_the_section_of_the_changelog(tmp_path: Path) -> None:
    """They end at the next version; a missing section or a tag of another version is an error."""
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
    """Return the unit with an existing program."""
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text("utf-8").replace("/opt/ragledger/bin/ragledger", sys.executable))
    return file


def test_systemd_accepts_the_unit(unit: Path) -> None:
    """Every directive is known, and the exposure of the service is low."""
    run(program("systemd-analyze"), "verify", "--man=no", unit)
    security = [program("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    run(*security, f"--threshold={int(EXPOSURE * 10)}", unit)


def test_the_unit_matches_the_service() -> None:
    """Its variables are settings, and it waits longer than a stop may take."""
    text = UNIT.read_text("utf-8")
    named = set(re.findall(r"\bRAGLEDGER_[A-Z_]+", text))
    assert named <= known_variables().keys() | OUTSIDE
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop
    assert int(stop[1]) > Settings().shutdown.timeout_s + 10
