"""Where the variables that hold settings come from: the environment, an env file, a secrets directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic_settings import EnvSettingsSource

PREFIX = "RAGLEDGER_"
ENV_FILE, SECRETS_DIR = "RAGLEDGER_ENV_FILE", "RAGLEDGER_SECRETS_DIR"
# These say where settings are, or belong to the programs around the service.
OUTSIDE = frozenset({ENV_FILE, SECRETS_DIR, "RAGLEDGER_TEST_STACK", "RAGLEDGER_LANE_RECORDS"})


class SettingsError(Exception):
    """A setting is wrong or unknown: its name, its value (secrets hidden), and what is allowed."""


class Layers(EnvSettingsSource):
    """Environment, then env file, then secrets directory: the first that knows a variable wins."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in variables().items()}


def variables() -> dict[str, str | None]:
    """Every variable of ours, from the environment, the env file and the secrets directory, names in upper case.

    :raises SettingsError: the file or the directory is not there
    """
    layers = (_secrets(os.environ.get(SECRETS_DIR)), _env_file(os.environ.get(ENV_FILE)), os.environ)
    merged: dict[str, str | None] = {}
    for layer in layers:
        merged.update({name.upper(): value for name, value in layer.items() if name.upper().startswith(PREFIX)})
    return {name: value for name, value in merged.items() if name not in OUTSIDE}


def _env_file(path: str | None) -> Mapping[str, str | None]:
    if not path:
        return {}
    if not Path(path).is_file():
        raise SettingsError(f"{ENV_FILE}={path!r}: there is no such file")
    return dotenv_values(path)


def _secrets(path: str | None) -> Mapping[str, str | None]:
    if not path:
        return {}
    if not Path(path).is_dir():
        raise SettingsError(f"{SECRETS_DIR}={path!r}: there is no such directory")
    ours = (file for file in Path(path).iterdir() if file.name.upper().startswith(PREFIX) and file.is_file())
    return {file.name: file.read_text().strip() for file in ours}
