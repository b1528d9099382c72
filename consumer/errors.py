"""Errors of the operator. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class OperationError(Exception):
    """The command cannot do its job."""


class YamlFileError(Exception):
    """A YAML file of settings is missing or wrong; the message says where, one line for each mistake."""
