"""`ragledger erase`: everything of one user, and what stays says nothing of the user any more.

job        delete, empty, unlink, compute anew: step by step, each safe to kill and repeat
dialogues  every table that has dialogues, in whatever phase of whatever command
files      archives of months, which are looked into
receipt    what was done, what was kept and why, what is out of reach
"""

from consumer.admin.erasure.found import Found
from consumer.admin.erasure.job import Erasure, Progress
from consumer.admin.erasure.receipt import Circumstances, as_text, dry_run, receipt

__all__ = ["Circumstances", "Erasure", "Found", "Progress", "as_text", "dry_run", "receipt"]
