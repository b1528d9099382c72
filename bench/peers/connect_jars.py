"""Downloads the jars of Kafka Connect and of Debezium's JDBC sink once into the user's cache.

The download runs this module as a script in another process. That process can be ended at any time, and its output
stays separate.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

KAFKA_VERSION, DEBEZIUM_VERSION = "4.3.1", "3.5.0.Final"
TIMEOUT_S = 600.0
# All jars of Kafka are listed, because otherwise the sink's older versions would be used.
_KAFKA = ("connect-runtime", "connect-json", "connect-api", "connect-transforms", "kafka-clients")
_COORDINATES = "+".join(
    [
        *(f"org.apache.kafka:{name}:{KAFKA_VERSION}" for name in _KAFKA),
        "org.slf4j:slf4j-simple:1.7.36",
        f"io.debezium:debezium-connector-jdbc:{DEBEZIUM_VERSION}",
    ]
)
_LIST = "classpath.json"


def fetch(directory: Path) -> None:
    """Download into a draft directory, and rename it when it is complete."""
    draft = directory.with_name(f"{directory.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    os.environ["M2_REPO"] = str(draft / "repository")  # read by the resolver
    import jgo

    jars = [str(jar.relative_to(draft)) for jar in jgo.build(_COORDINATES, cache_dir=draft).all_jars]
    (draft / _LIST).write_text(json.dumps({"coordinates": _COORDINATES, "jars": jars}, indent=1))
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)


def cached(directory: Path) -> list[Path] | None:
    """The jars of an earlier download; None if they are missing or have other versions."""
    try:
        remembered = json.loads((directory / _LIST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    jars = [directory / jar for jar in remembered["jars"]]
    is_complete = remembered["coordinates"] == _COORDINATES and all(jar.is_file() for jar in jars)
    return jars if is_complete else None


def classpath(cache: Path) -> list[Path]:
    """Return the jars. If they are missing, download them.

    :raises Missing: the download fails
    """
    from bench.peers.missing import Missing

    directory = cache / f"bench-connect-{KAFKA_VERSION}-{DEBEZIUM_VERSION}"
    if (found := cached(directory)) is not None:
        return found
    try:
        subprocess.run(
            [sys.executable, "-P", __file__, str(directory)], capture_output=True, timeout=TIMEOUT_S, check=True
        )
    except subprocess.SubprocessError as error:
        raise Missing("its jars cannot be downloaded; the first run needs network access") from error
    if (found := cached(directory)) is None:
        raise Missing(f"its jars are incomplete: remove {directory} and try again")
    return found


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
