"""Reads the variables of settings from their sources: the environment, an env file, a secrets directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from consumer.settings import env_file
from consumer.settings.given import is_directory, is_file, shown_path
from consumer.settings.service_links import is_service_link
from consumer.text import printable

PREFIX = "RAGLEDGER_"
ENV_FILE, SECRETS_DIR = "RAGLEDGER_ENV_FILE", "RAGLEDGER_SECRETS_DIR"
# Variables that name the sources of settings, or that belong to other programs.
OUTSIDE = frozenset(
    {ENV_FILE, SECRETS_DIR, "RAGLEDGER_TEST_STACK", "RAGLEDGER_TEST_CITUS_DSN", "RAGLEDGER_LANE_RECORDS"}
)


class SettingsError(Exception):
    """A setting is wrong or unknown. The message has its name, its value (secrets hidden) and the allowed values."""


def variable(*path: str | int) -> str:
    """Return the environment variable of a setting: ("kafka", "group_id") becomes RAGLEDGER_KAFKA__GROUP_ID."""
    return PREFIX + "__".join(str(step).upper() for step in path)


def variables() -> dict[str, str]:
    """Return every variable of ragledger, with names in upper case.

    The environment counts before the env file, and the env file before the secrets directory.

    :raises SettingsError: the env file or the secrets directory is missing or cannot be read
    """
    links = set(service_links())
    # A secret that was created from a file often ends with a line break.
    environment = {name: value.rstrip("\r\n") for name, value in os.environ.items() if name not in links}
    layers = (_secrets(os.environ.get(SECRETS_DIR)), _env_file(os.environ.get(ENV_FILE)), environment)
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update({name.upper(): value for name, value in layer.items() if name.upper().startswith(PREFIX)})
    _refuse_unreadable(merged)
    return {name: value for name, value in merged.items() if name not in OUTSIDE}


def refuse_ignored() -> None:
    """Reject what would have no effect: a secret that is no file, and a source that is named inside a source.

    :raises SettingsError: there is one
    """
    directory = os.environ.get(SECRETS_DIR)
    secrets = {file.name.upper(): file for file in Path(directory).iterdir()} if directory else {}
    for name, file in sorted(secrets.items()):
        if name.startswith(PREFIX) and not is_file(file):
            raise SettingsError(f"{SECRETS_DIR}: {printable(str(file))} is {_instead_of_file(file)}, not a file")
    inside = secrets.keys() | {name.upper() for name in _env_file(os.environ.get(ENV_FILE))}
    if hidden := sorted({ENV_FILE, SECRETS_DIR} & (inside - os.environ.keys())):
        raise SettingsError(f"{hidden[0]}: has an effect in the environment only, not in a file")


def _instead_of_file(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return "a link to nothing" if path.is_symlink() else "a pipe, a socket or a device"


def service_links() -> tuple[str, ...]:
    """Return the names of the variables that Kubernetes has set, which are not settings."""
    return tuple(sorted(name for name, value in os.environ.items() if is_service_link(name, value)))


def _refuse_unreadable(values: Mapping[str, str]) -> None:
    """Reject values that are not UTF-8. Python decodes them with lone surrogates, which cannot be sent to a server."""
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
    return f"{variable}: {path} cannot be read: {error.strerror}; give the user of this process the right to read it"


def _secret_files(directory: Path) -> Iterator[tuple[str, str]]:
    for file in directory.iterdir():
        if file.name.upper().startswith(PREFIX) and file.is_file():
            try:
                yield file.name, file.read_text("utf-8-sig").strip()
            except UnicodeDecodeError:
                raise SettingsError(f"{SECRETS_DIR}: {file} is not UTF-8") from None
            except OSError as error:
                raise SettingsError(_unreadable(SECRETS_DIR, str(file), error)) from None
