"""The two clocks of this machine."""

from __future__ import annotations

import time


class SystemClock:
    """See :class:`consumer.ports.Clock`."""

    def monotonic(self) -> float:
        """See :meth:`consumer.ports.Clock.monotonic`."""
        return time.monotonic()

    def wall(self) -> float:
        """See :meth:`consumer.ports.Clock.wall`."""
        return time.time()
