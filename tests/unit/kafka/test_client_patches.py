"""Tests the corrections of aiokafka."""

from importlib.metadata import version

from aiokafka import conn
from aiokafka.consumer import fetcher

from consumer.kafka.client_patches import CHECKED_VERSION, Connection
from consumer.kafka.unpacking import Batches, FetchResult, PartitionUnpacker


def test_every_client_is_patched() -> None:
    """Importing the package patches it."""
    assert conn.AIOKafkaConnection is Connection
    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == (Batches, PartitionUnpacker)
    assert fetcher.FetchResult is FetchResult


def test_the_patches_were_checked_for_this_version() -> None:
    """If this fails after an upgrade, check each entry of the module's docstring again, then change the version."""
    assert version("aiokafka") == CHECKED_VERSION
