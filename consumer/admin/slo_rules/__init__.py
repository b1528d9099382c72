"""`ragledger slo rules`: writes rules for Prometheus from the objectives.

watching.py    how Prometheus can watch an objective: as an error budget, as spending, or not at all
budget.py      the rules of an error budget, in the form of Sloth
spending.py    the rules for spending
files.py       rules as YAML, one file for each objective or one document
directory.py   the changes that bring a directory up to date
"""

from __future__ import annotations

from consumer.admin.slo_rules.directory import Changes, apply, changes
from consumer.admin.slo_rules.files import condition, document, file_name, files
from consumer.admin.slo_rules.watching import Budget, DayOnly, Spending, Watch, plain, watch_all

__all__ = ["Budget", "Changes", "DayOnly", "Spending", "Watch", "apply", "changes", "condition", "document"]
__all__ += ["file_name", "files", "plain", "watch_all"]
