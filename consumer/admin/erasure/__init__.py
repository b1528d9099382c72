"""`ragledger erase`: removes the data of one user. Data that must be kept is stored without the user.

job        delete, empty, unlink, recompute: each step may be interrupted and repeated
dialogues  every table that holds dialogues, also those that interrupted commands have left
files      archives of months, which are searched but not changed
receipt    what was removed, what was kept and why, and what ragledger cannot reach
"""

from consumer.admin.erasure.found import Found
from consumer.admin.erasure.job import Erasure, Progress
from consumer.admin.erasure.receipt import Circumstances, as_text, dry_run, receipt

__all__ = ["Circumstances", "Erasure", "Found", "Progress", "as_text", "dry_run", "receipt"]
