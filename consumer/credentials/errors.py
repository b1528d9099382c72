"""The one error of this package."""

from __future__ import annotations


class CredentialsError(Exception):
    """No credentials are available now. The message says why, and quotes neither a secret nor a program's output."""
