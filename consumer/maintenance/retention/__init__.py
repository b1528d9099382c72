"""`ragledger retention`: removes what is not kept any longer.

dialogues     older than RAGLEDGER_RETENTION__DIALOGUES_DAYS: months are dropped, other rows deleted (`dialogues`)
dead letters  older than RAGLEDGER_RETENTION__DEAD_LETTERS_DAYS are deleted (`dead_letters`)
provenance    whose retention is over is archived and deleted, and its owners get a notice:
  archive     one statement deletes a batch of rows and archives them (`expiry`)
  end         one transaction writes a notice for each owner whose provenance the run has archived (`expiry`)
  publish     each notice is published exactly once, even if a process is killed (`notices`)
"""

from consumer.maintenance.retention.dead_letters import LetterPreview
from consumer.maintenance.retention.dialogues import DialoguePreview
from consumer.maintenance.retention.expiry import Expiry, Preview
from consumer.maintenance.retention.notices import Notices
from consumer.maintenance.retention.run import Done, Previews, Retention
from consumer.maintenance.retention.timer import RetentionJob, RetentionTelemetry

__all__ = [
    "DialoguePreview",
    "Done",
    "Expiry",
    "LetterPreview",
    "Notices",
    "Preview",
    "Previews",
    "Retention",
    "RetentionJob",
    "RetentionTelemetry",
]
