"""`ragledger doctor`: checks the servers, the settings and the data, and says what to do.

Each module checks one subject and returns findings; nothing is changed. `examination` runs the checks, each with a time
limit. If Kafka or PostgreSQL is unavailable, the other one is still checked.
"""

from consumer.admin.doctor.examination import examine
from consumer.admin.doctor.findings import Finding, Report, Severity

__all__ = ["Finding", "Report", "Severity", "examine"]
