"""`ragledger slo rules`: the rules for Prometheus, from the objectives.

watching.py    how Prometheus can watch an objective: as an error budget, as spending, or not at all
budget.py      the rules of an error budget, in Sloth's shape
spending.py    the rules of what is spent
files.py       rules as YAML, a file for each objective or one document
directory.py   what has to change in a directory so that it holds these files
"""

from __future__ import annotations

from consumer.admin.slo_rules.directory import Changes, apply, changes
from consumer.admin.slo_rules.files import condition, document, file_name, files
from consumer.admin.slo_rules.watching import Budget, DayOnly, Spending, Watch, plain, watch_all

__all__ = ["Budget", "Changes", "DayOnly", "Spending", "Watch", "apply", "changes", "condition", "document"]
__all__ += ["file_name", "files", "plain", "watch_all"]
