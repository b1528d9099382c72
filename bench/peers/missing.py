"""The error of a peer that cannot take part."""

from __future__ import annotations


class Missing(Exception):
    """A peer lacks a program or a file. The message names it and says what to do."""
