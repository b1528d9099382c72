"""The two clocks of this machine."""

from __future__ import annotations

import time


class SystemClock:
    """See :class:`consumer.ingest.ports.Clock`."""

    def monotonic(self) -> float:
        """See :meth:`consumer.ingest.ports.Clock.monotonic`."""
        return time.monotonic()

    def wall(self) -> float:
        """See :meth:`consumer.ingest.ports.Clock.wall`."""
        return time.time()
