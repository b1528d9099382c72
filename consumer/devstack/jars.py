"""Kafka's jars: downloaded once into the user's cache and remembered as a list of files.

Run as a script, it downloads them. A separate process can be killed during the download, and keeps the resolver's
output out of ours.
"""

import fcntl
import json
import os
import shutil
from pathlib import Path

from consumer.files import make_directory

KAFKA_VERSION = "4.3.1"
_COORDINATES = "+".join(
    [
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        "org.slf4j:slf4j-simple:1.7.36",
    ]
)
_LIST = "classpath.json"


def cache_directory() -> Path:
    """Return ragledger's directory in the user's cache (`XDG_CACHE_HOME`, otherwise `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ragledger"


def cached_classpath() -> list[Path] | None:
    """Return the jars that were downloaded earlier; None if there are none or one is missing."""
    try:
        remembered = json.loads((_installation() / _LIST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    jars = [_installation() / jar for jar in remembered["jars"]]
    is_whole = remembered["coordinates"] == _COORDINATES and all(jar.is_file() for jar in jars)
    return jars if is_whole else None


def _installation() -> Path:
    return cache_directory() / f"kafka-{KAFKA_VERSION}"


def install() -> None:
    """Download the jars and remember them. A second process waits for the first and then does nothing.

    Raises:
        Exception: the resolver failed, usually because there is no network.
    """
    make_directory(cache_directory())
    with (cache_directory() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if cached_classpath() is None:
            _install()


def _install() -> None:
    # The resolver writes into the final place, and an interrupted download would leave a partial jar that counts as
    # complete. So it writes to a draft directory, which is renamed at the end.
    draft = _installation().with_name("draft")
    for remains in (draft, _installation()):
        shutil.rmtree(remains, ignore_errors=True)
    draft.mkdir()
    jars = [str(jar.relative_to(draft)) for jar in _download(draft)]
    (draft / _LIST).write_text(json.dumps({"coordinates": _COORDINATES, "jars": jars}, indent=1))
    draft.rename(_installation())


def _download(directory: Path) -> list[Path]:
    # The resolver reads this variable. With the user's own repository, jars would be outside the draft.
    os.environ["M2_REPO"] = str(directory / "repository")
    import jgo

    return list(jgo.build(_COORDINATES, cache_dir=directory).all_jars)


if __name__ == "__main__":
    install()
