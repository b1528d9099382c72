"""Where the variables that hold settings come from: the environment, an env file, a secrets directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource

from consumer.settings import env_file
from consumer.settings.given import is_directory, is_file, shown_path
from consumer.settings.service_links import is_service_link

PREFIX = "RAGLEDGER_"
ENV_FILE, SECRETS_DIR = "RAGLEDGER_ENV_FILE", "RAGLEDGER_SECRETS_DIR"
# These say where settings are, or belong to the programs around the service.
OUTSIDE = frozenset({ENV_FILE, SECRETS_DIR, "RAGLEDGER_TEST_STACK", "RAGLEDGER_LANE_RECORDS"})


class SettingsError(Exception):
    """A setting is wrong or unknown: its name, its value (secrets hidden), and what is allowed."""


class Layers(EnvSettingsSource):
    """Environment, then env file, then secrets directory: the first that knows a variable wins."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        optional = self._optional()
        return {name.lower(): None if not value and name in optional else value for name, value in variables().items()}

    def _optional(self) -> Set[str]:
        """The variables of the settings that need not have a value: an empty one is none."""
        groups: Any = self.settings_cls.model_fields
        return {
            f"{PREFIX}{group}__{name}".upper()
            for group, settings in groups.items()
            for name, field in settings.annotation.model_fields.items()
            if field.default is None
        }


def variables() -> dict[str, str]:
    """Every variable of ours, from the environment, the env file and the secrets directory, names in upper case.

    :raises SettingsError: the file or the directory is not there, or cannot be read
    """
    links = set(service_links())
    # A secret that was made from a file ends with that file's end of line.
    environment = {name: value.rstrip("\r\n") for name, value in os.environ.items() if name not in links}
    layers = (_secrets(os.environ.get(SECRETS_DIR)), _env_file(os.environ.get(ENV_FILE)), environment)
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update({name.upper(): value for name, value in layer.items() if name.upper().startswith(PREFIX)})
    _refuse_unreadable(merged)
    return {name: value for name, value in merged.items() if name not in OUTSIDE}


def service_links() -> tuple[str, ...]:
    """The variables of the environment that are Kubernetes' and no settings."""
    return tuple(sorted(name for name, value in os.environ.items() if is_service_link(name, value)))


def _refuse_unreadable(values: Mapping[str, str]) -> None:
    """Bytes that are not UTF-8 come as lone surrogates, which no server can be sent."""
    for name, value in values.items():
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise SettingsError(f"{name}: is not UTF-8")


def _env_file(path: str | None) -> Mapping[str, str]:
    if not path:
        return {}
    if not is_file(Path(path)):
        raise SettingsError(f"{ENV_FILE}={shown_path(path)}: there is no such file")
    try:
        return env_file.read(Path(path))
    except env_file.EnvFileError as error:
        raise SettingsError(f"{ENV_FILE}={path!r}, {error}") from None
    except OSError as error:
        raise SettingsError(_unreadable(ENV_FILE, path, error)) from None


def _secrets(path: str | None) -> Mapping[str, str]:
    if not path:
        return {}
    if not is_directory(Path(path)):
        raise SettingsError(f"{SECRETS_DIR}={shown_path(path)}: there is no such directory")
    try:
        return dict(_secret_files(Path(path)))
    except OSError as error:
        raise SettingsError(_unreadable(SECRETS_DIR, error.filename or path, error)) from None


def _unreadable(variable: str, path: str, error: OSError) -> str:
    return f"{variable}: {path} cannot be read: {error.strerror}; give the user of this process the right to"


def _secret_files(directory: Path) -> Iterator[tuple[str, str]]:
    for file in directory.iterdir():
        if file.name.upper().startswith(PREFIX) and file.is_file():
            try:
                yield file.name, file.read_text("utf-8-sig").strip()
            except UnicodeDecodeError:
                raise SettingsError(f"{SECRETS_DIR}: {file} is not UTF-8") from None
            except OSError as error:
                raise SettingsError(_unreadable(SECRETS_DIR, str(file), error)) from None
