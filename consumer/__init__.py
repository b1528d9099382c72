"""ragledger: keeps the books of retrieval-augmented generation."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ragledger")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
