"""What is told of monthly partitions: a log line for each that is made, and one where they cannot be."""

from __future__ import annotations

import structlog

from consumer.postgres.table_partitions import MadePartition

log = structlog.get_logger("ragledger")


class LoggedPartitions:
    """See :class:`consumer.maintenance.table_partitions.timer.PartitionTelemetry`."""

    def __init__(self) -> None:
        self._problem = ""

    def partition_made(self, made: MadePartition) -> None:
        """See :meth:`consumer.maintenance.table_partitions.timer.PartitionTelemetry.partition_made`."""
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
        """See :meth:`PartitionTelemetry.partitions_failed`. Said once while it stays the same."""
        if problem != self._problem:
            self._problem = problem
            log.warning("monthly_partitions_failed", problem=problem, then="tried again; rows have a place meanwhile")
