"""Values that were given for settings: what of them may be shown, and whether they name a file.

A secret may stand in a variable that is meant for something else: a key instead of the file that holds it, a connection
string instead of brokers.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

HIDDEN = "(hidden)"
MOST_SHOWN = 250
_CREDENTIAL = re.compile(
    r"@|-----|[\x00-\x1f\x7f]|(?:pass|pwd|secret|token|key|auth|sig)[\w-]*['\"]?\s*[=:]", re.IGNORECASE
)


def may_hold_secret(value: object) -> bool:
    """Whether a value has credentials in it: an address with a user, a PEM, `password=…`; or is too long to tell."""
    text = str(value)
    return len(text) > MOST_SHOWN or _CREDENTIAL.search(text) is not None


def shown(value: object) -> str:
    """The value for a message, as Python writes it; :data:`HIDDEN` if it may hold a secret."""
    return HIDDEN if may_hold_secret(value) else repr(str(value) if isinstance(value, Path) else value)


def is_file(path: Path) -> bool:
    """Whether there is such a file. The error for a name that cannot be one would quote it."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_directory(path: Path) -> bool:
    """Whether there is such a directory; as :func:`is_file`."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False
