"""`ragledger retention`: archives and deletes provenance whose retention is over, and sends its owners a notice.

archive  one statement deletes a batch of rows and archives them (`expiry`)
end      one transaction writes a notice for each owner whose provenance the run has archived (`expiry`)
publish  each notice is published exactly once, even if a process is killed (`notices`)
"""

from consumer.maintenance.retention.expiry import Expiry, Preview
from consumer.maintenance.retention.notices import Notices
from consumer.maintenance.retention.run import Done, Retention
from consumer.maintenance.retention.timer import RetentionJob, RetentionTelemetry

__all__ = ["Done", "Expiry", "Notices", "Preview", "Retention", "RetentionJob", "RetentionTelemetry"]
