"""The page at `/`: how the last days went and what is read now. Never shows query or response text.

look       asks the database and Kafka, with bounds on everything            → Snapshot
document   makes a page of it, with sections, charts and tables              → HTML
server     keeps the page for a moment, so that reloading it costs nothing   → status and bytes
"""

from consumer.http.page.server import PageServer
from consumer.http.page.snapshot_source import SnapshotSource

__all__ = ["PageServer", "SnapshotSource"]
