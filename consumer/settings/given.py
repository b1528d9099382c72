"""Decides whether a message may show the value of a setting, and whether the value names a file.

A variable may contain a secret by mistake: a key instead of the file with the key, a connection string instead of
brokers, a password instead of a number. So a message shows a wrong value only if it is a few words, a number with or
without a unit, or the name of a file. A password that consists only of letters looks like a word, and is shown.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

HIDDEN = "(hidden)"
MOST_SHOWN = 250
_CREDENTIAL = re.compile(
    r"@|-----|[\x00-\x1f\x7f]|(?:pass|pwd|secret|token|key|auth|sig)[\w-]*['\"]?\s*[=:]", re.IGNORECASE
)


_PLAIN = re.compile(r"[^\W_]+(?:[\s._/:,+%-]+[^\W_]+)*|", re.UNICODE)
_NUMBER = re.compile(r"[\s+-]*[\d.,_]+(?:[eE][+-]?\d+)?\s*[^\W\d_]{0,3}")
_FILE = re.compile(r"(?:~|\.{0,2})/[^\s=+]*|[^\s=+]*\.[A-Za-z]{1,8}")
_ADDRESS = re.compile(r"[\w./,:;\[\] -]*[\w\]]:\d{2,5}(?!\w)[\w./,:;\[\] -]*")
_MOST_WORDS, _LONGEST_WORD, _LONGEST_MIXED = 4, 14, 3


def may_hold_secret(value: object) -> bool:
    """Whether a value contains credentials (an address with a user, a PEM, `password=…`), or is too long to be sure."""
    text = str(value)
    return len(text) > MOST_SHOWN or _CREDENTIAL.search(text) is not None


def shown(value: object) -> str:
    """Return the repr of a wrong value for a message; :data:`HIDDEN` if it may be a secret or contain one."""
    return _shown(value, _is_plain(str(value)))


def shown_path(path: object) -> str:
    """Like :func:`shown`, for a value that should name a file."""
    return _shown(path, _is_plain(str(path)) or _FILE.fullmatch(str(path)) is not None)


def shown_address(address: object) -> str:
    """Like :func:`shown`, for a value that should be an address."""
    return _shown(address, _is_plain(str(address)) or _ADDRESS.fullmatch(str(address)) is not None)


def _shown(value: object, is_harmless: bool) -> str:
    is_shown = is_harmless and not may_hold_secret(value)
    return repr(str(value) if isinstance(value, Path) else value) if is_shown else HIDDEN


def _is_plain(text: str) -> bool:
    """Whether the text is a number or a few words. A word with letters and digits may be a password."""
    if _NUMBER.fullmatch(text):
        return True
    words = re.findall(r"[^\W_]+", text)
    return _PLAIN.fullmatch(text) is not None and len(words) <= _MOST_WORDS and all(map(_is_word, words))


def _is_word(word: str) -> bool:
    return len(word) <= (_LONGEST_WORD if word.isalpha() or word.isdecimal() else _LONGEST_MIXED)


def is_readable(path: Path) -> bool:
    """Whether this user may read the file. Errors are handled as in :func:`is_file`."""
    with suppress(OSError, ValueError):
        return os.access(path, os.R_OK)
    return False


def is_file(path: Path) -> bool:
    """Whether the file exists. An invalid name is False, because its error would quote the name."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_directory(path: Path) -> bool:
    """Whether the directory exists. Errors are handled as in :func:`is_file`."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False
