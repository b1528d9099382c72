"""Builds Bento from its Go module into the user's cache, with only the required components."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.peers.missing import Missing

MODULE, VERSION = "github.com/warpstreamlabs/bento", "v1.10.0"
BUILD_TIMEOUT_S = 1800.0
_PARTS = ("io", "kafka", "prometheus", "pure", "sql/base")
_MAIN = """package main

import (
	"context"

	"{module}/public/service"

	_ "github.com/lib/pq"
{parts}
)

func main() {{
	service.RunCLI(context.Background())
}}
"""


def program(cache: Path) -> Path:
    """Return the path of the program. If it does not exist, build it.

    :raises Missing: Go is not installed, or the build fails
    """
    directory = cache / f"bench-bento-{VERSION}"
    built = directory / "bento"
    if not built.is_file():
        _build(directory)
    return built


def _build(directory: Path) -> None:
    if shutil.which("go") is None:
        raise Missing("Go is not installed (on Debian: apt-get install golang)")
    directory.mkdir(parents=True, exist_ok=True)
    parts = "\n".join(f'\t_ "{MODULE}/public/components/{part}"' for part in _PARTS)
    (directory / "main.go").write_text(_MAIN.format(module=MODULE, parts=parts))
    (directory / "go.mod").write_text(_go_mod(directory))
    # The file gets its name only after the build, so that an interrupted build leaves no program.
    _go(directory, "build", "-mod=mod", "-trimpath", "-o", "bento.draft", ".")
    (directory / "bento.draft").rename(directory / "bento")


def _go_mod(directory: Path) -> str:
    """The go.mod that requires the module, with its replacements: Go applies only those of the main module."""
    theirs = _json(_go(directory, "mod", "download", "-json", f"{MODULE}@{VERSION}"))
    module = _json(_go(directory, "mod", "edit", "-json", theirs["GoMod"]))
    replaced = [
        f"replace {one['Old']['Path']} => {one['New']['Path']} {one['New'].get('Version', '')}".rstrip()
        for one in module.get("Replace") or []
    ]
    head = ["module bench", f"go {module['Go']}", f"require {MODULE} {VERSION}"]
    return "\n".join([*head, *replaced]) + "\n"


def _go(directory: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["go", *arguments], cwd=directory, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise Missing(f"`go {arguments[0]}` failed: {_last_line(error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"`go {arguments[0]}` did not end within {BUILD_TIMEOUT_S:.0f} s") from error
    return done.stdout


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it does not say why"


def _json(text: str) -> Any:
    return json.loads(text)
