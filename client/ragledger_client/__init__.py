"""Records answers, feedback and provenance of a RAG service in Kafka, for ragledger."""

from ragledger_client._sender import Stats
from ragledger_client.ledger import Answer, Ledger

__all__ = ["Answer", "Ledger", "Stats"]
__version__ = "0.1.0"
