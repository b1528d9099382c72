"""Logs monthly partitions: one line for each new one, and one if they cannot be made."""

from __future__ import annotations

import structlog

from consumer.postgres.table_partitions import MadePartition

log = structlog.get_logger("ragledger")


class LoggedPartitions:
    """See :class:`consumer.maintenance.partition_job.PartitionTelemetry`."""

    def __init__(self) -> None:
        self._problem = ""

    def partition_made(self, made: MadePartition) -> None:
        """See :meth:`consumer.maintenance.partition_job.PartitionTelemetry.partition_made`."""
        self._problem = ""
        if made.waiting:
            log.warning(
                "monthly_partition_waiting",
                partition=made.partition,
                rows=made.waiting,
                hint="ragledger partition ensure",
            )
        else:
            log.info("monthly_partition_made", partition=made.partition, moved=made.moved)

    def partitions_failed(self, problem: str) -> None:
        """See :meth:`PartitionTelemetry.partitions_failed`. The same problem is logged once."""
        if problem != self._problem:
            self._problem = problem
            log.warning("monthly_partitions_failed", problem=problem, then="retried; rows go to the default partition")
