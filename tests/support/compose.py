"""The compose file as Compose reads it without environment variables."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")


def load_compose() -> dict[str, Any]:
    """Return the compose file with the defaults of its variables. Raises ValueError if a variable has no default."""
    content: dict[str, Any] = _resolve(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8")))
    return content


def load_services() -> dict[str, Any]:
    """Return the compose file's services by name."""
    services: dict[str, Any] = load_compose()["services"]
    return services


def _resolve(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_resolve(member) for member in value]
    return _VARIABLE.sub(_default, value) if isinstance(value, str) else value


def _default(variable: re.Match[str]) -> str:
    if variable[0] == "$$":
        return "$"
    if variable["default"] is None:
        raise ValueError(f"{variable[0]} has no default")
    return variable["default"]
