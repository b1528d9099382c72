"""Prints the section of the changelog for a version: what a release says of itself.

python docs/release_notes.py VERSION

Fails if the version is not the project's, or if the changelog has no section for it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(changelog: str, version: str) -> str:
    """The text below the heading of a version, up to the next one.

    :raises ValueError: there is no such heading
    """
    section = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise ValueError(f"CHANGELOG.md has no section [{version}]: rename [Unreleased] and add the date")
    return section[1].strip() + "\n"


def main(version: str) -> None:
    """Print the notes of the project's version."""
    here = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if here != version:
        sys.exit(f"the tag says {version}, pyproject.toml {here}")
    try:
        print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version), end="")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
