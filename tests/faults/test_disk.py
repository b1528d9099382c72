"""Tests a full disk of the tables: the batches wait for space, and none becomes a dead letter."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.scene import Scene
from tests.faults.test_database import let_outage_last
from tests.support.load import wait_for_retries

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a small disk"),
]

DISK = "9m"
ROOM = 8 << 20  # bytes that another program releases


@contextmanager
def small_disk(lab: Lab) -> Iterator[Path]:
    """Return a file system in memory for PostgreSQL, with a large file of another program on it."""
    directory = lab.postgres.data.with_name(f"disk-{uuid4().hex[:8]}")
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=777", "small", directory], check=True, timeout=30)
    try:
        (directory / "ballast").write_bytes(bytes(ROOM))
        tablespace = directory / "tables"
        tablespace.mkdir()
        if lab.postgres.user is not None:
            shutil.chown(tablespace, lab.postgres.user)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, timeout=30)
        directory.rmdir()


@contextmanager
def tables_on(scene: Scene, directory: Path) -> Iterator[None]:
    """Put the table of dialogues on it."""
    name = f"small_{uuid4().hex}"
    with psycopg.connect(scene.environment.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE {name} LOCATION '{directory / 'tables'}'".encode())
        try:
            connection.execute(f"ALTER TABLE ai_dialogue_log SET TABLESPACE {name}".encode())
            yield
        finally:
            connection.execute(b"ALTER TABLE ai_dialogue_log SET TABLESPACE pg_default")
            connection.execute(f"DROP TABLESPACE {name}".encode())


def test_the_disk_is_full(lab: Lab, stage: Stage) -> None:
    """PostgreSQL answers 53100 to every write until there is space again; then everything continues by itself."""
    with (
        small_disk(lab) as disk,
        stage("PostgreSQL's disk full", lab) as scene,
        tables_on(scene, disk),
    ):
        for replica in scene.fleet.replicas:
            wait_for_retries(replica.service, 2, cause="resources")
        let_outage_last(scene)
        (disk / "ballast").unlink()
        scene.recover("disk full")
