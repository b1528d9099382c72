"""Builds the documentation as a site, into build/site. A dead link or a page that nothing leads to is an error.

python docs/build_site.py

The pages are those of the repository, at the same paths, so that their links lead to the same places on GitHub, in a
checkout and on the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build" / "site-source"
# What pages are made of, and what they link to.
PARTS = (
    "*.md",
    "LICENSE",
    "docs/**/*.md",
    "docs/**/*.svg",
    "docs/**/*.json",
    "schema/README.md",
    "client/README.md",
    "deploy/prices.yml",
    "deploy/slo.yml",
    "deploy/systemd/*",
    "deploy/helm/ragledger/*.md",
    "deploy/helm/ragledger/examples/**/*",
    "tests/integration/test_end_to_end.py",
)
# Behind the language our tests find what a block is about, which Python's Markdown does not take for a fence.
_FENCE = re.compile(r"^( *```\w+) .*$", re.MULTILINE)


def stage() -> None:
    """Copy the pages to where the site is made from."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for file in {file for part in PARTS for file in ROOT.glob(part) if file.is_file()}:
        target = SOURCE / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            target.write_text(_FENCE.sub(r"\1", file.read_text("utf-8")), "utf-8")
        else:
            shutil.copyfile(file, target)


def main() -> int:
    """Build the site; 1 if anything is wrong with it."""
    stage()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main())
