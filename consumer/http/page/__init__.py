"""The page at `/`: the figures of the last days and the state of ingestion. It never shows query or response text.

snapshot_source   reads the database and Kafka, with time limits         → Snapshot
document          renders the page with its sections, charts and tables  → HTML
server            caches the page for two seconds                        → status and bytes
"""

from consumer.http.page.server import PageServer
from consumer.http.page.snapshot_source import SnapshotSource

__all__ = ["PageServer", "SnapshotSource"]
