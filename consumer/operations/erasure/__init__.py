"""`ragledger erase`: everything of one user, and what stays says nothing of the user any more.

job      delete, empty, unlink, compute anew: step by step, each safe to kill and repeat
receipt  what was done, what was kept and why, what is out of reach
"""

from consumer.operations.erasure.job import Erasure, Found, Progress
from consumer.operations.erasure.receipt import Circumstances, as_text, dry_run, receipt

__all__ = ["Circumstances", "Erasure", "Found", "Progress", "as_text", "dry_run", "receipt"]
