"""`ragledger retention`: provenance whose retention is over is archived, deleted, and told to its owners once.

archive  one statement deletes and keeps, batch by batch (`expiry`)
end      one transaction writes a notice for each owner of what the run has archived (`expiry`)
publish  each notice gets into the topic once, whoever is killed when (`notices`)
"""

from consumer.maintenance.retention.expiry import Expiry, Preview
from consumer.maintenance.retention.notices import Notices
from consumer.maintenance.retention.run import Done, Retention
from consumer.maintenance.retention.timer import RetentionJob, RetentionTelemetry

__all__ = ["Done", "Expiry", "Notices", "Preview", "Retention", "RetentionJob", "RetentionTelemetry"]
