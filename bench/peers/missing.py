"""Why a peer does not take part."""

from __future__ import annotations


class Missing(Exception):
    """What a peer needs is not there; the message says what, and what to do."""
