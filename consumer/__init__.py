"""ragledger: moves the events of RAG services from Kafka to PostgreSQL, and proves in SQL that none is lost."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ragledger")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
