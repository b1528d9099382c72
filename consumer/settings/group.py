"""The base of a group of settings, and the types of values that several groups share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from consumer.settings.given import is_file, is_readable

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
# PostgreSQL's limits are whole milliseconds in 32 bits, and 0 means no limit.
Limit = Annotated[float, Field(ge=0.001, le=2_147_483)]


class Group(BaseModel):
    """A group of settings. The docstring of each member is the description of the setting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _given: frozenset[str] | None = PrivateAttr(None)
    """The variables of this group, to read them again; None if the group was not made from variables."""


def existing(path: Path | None) -> Path | None:
    """Return the path.

    :raises ValueError: the file does not exist, or this process may not read it
    """
    if path is not None and not is_file(path):
        raise ValueError("there is no such file")
    if path is not None and not is_readable(path):
        raise ValueError("the user of this process may not read that file")
    return path
