"""Tests the documentation site."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chart import ROOT

pytestmark = [pytest.mark.timeout(300), pytest.mark.thorough]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the files of the site into a directory that a test may change."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for name in tracked.stdout.split("\0"):
        if re.match(
            r"[^/]+\.(md|yml)$|docs/|schema/README|client/README|deploy/|tests/integration/test_end_to_end|LICENSE",
            name,
        ):
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                target.write_bytes((ROOT / name).read_bytes())
    return tmp_path


def build(directory: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a directory."""
    command = [sys.executable, str(directory / "docs" / "build_site.py")]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240, check=False)


def test_the_site_is_built_without_a_warning(copy: Path) -> None:
    """Every link has a page and a heading, every page is in the navigation, and no other host is requested."""
    done = build(copy)
    assert done.returncode == 0, done.stderr
    pages = [page.read_text("utf-8") for page in (copy / "build" / "site").rglob("*.html")]
    assert len(pages) > 60
    assert [
        found for page in pages for found in re.findall(r'(?:src=|<link[^>]+href=)"?(https?://[^" >]+)', page)
    ] == []


def test_dead_links_and_orphans_stop_it(copy: Path) -> None:
    """A missing page, a missing heading, and a page without links to it are each named."""
    page = copy / "docs" / "kubernetes.md"
    page.write_text(page.read_text("utf-8") + "\n[one](nowhere.md), [other](index.md#nowhere)\n")
    (copy / "docs" / "orphan.md").write_text("# Orphan\n")
    done = build(copy)
    assert done.returncode == 1
    for said in ("nowhere.md", "#nowhere", "docs/orphan.md"):
        assert said in done.stderr
