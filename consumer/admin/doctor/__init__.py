"""`ragledger doctor`: looks at everything around the service and says what to do.

Each module looks at one part and returns findings; nothing is changed. `examination` runs them, each within a time
limit, whatever of Kafka and PostgreSQL is there.
"""

from consumer.admin.doctor.examination import examine
from consumer.admin.doctor.findings import Finding, Report, Severity

__all__ = ["Finding", "Report", "Severity", "examine"]
