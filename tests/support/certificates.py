"""A test authority, and the certificates it signs."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from consumer.devstack.postgres import UNPRIVILEGED_USER

DAYS = "2"


class Authority:
    """Signs certificates for servers and clients; `certificate` is the authority's own certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self._directory, self._name = directory, name
        self.certificate, self._key = directory / f"{name}.pem", directory / f"{name}.key"
        self._openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", f"/CN={name}"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, common_name: str, *alternative_names: str) -> tuple[Path, Path]:
        """Return a certificate and its key; alternative names are in the form of openssl, such as `DNS:db.example`."""
        key, request = self._directory / f"{common_name}.key", self._directory / f"{common_name}.csr"
        certificate, extensions = self._directory / f"{common_name}.pem", self._directory / f"{common_name}.ext"
        names = f"subjectAltName = {', '.join(alternative_names)}\n" if alternative_names else ""
        extensions.write_text(f"basicConstraints = CA:FALSE\n{names}")
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={common_name}"), "-keyout", key, "-out", request
        )
        self._openssl(
            *("x509", "-req", "-days", DAYS, "-CAcreateserial", "-in", request, "-out", certificate),
            *("-CA", self.certificate, "-CAkey", self._key, "-extfile", extensions),
        )
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def hand_over(*files: Path) -> None:
    """Give files to the user that PostgreSQL runs as; it refuses a key that others may read."""
    for file in files:
        file.chmod(0o600)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(UNPRIVILEGED_USER)
            os.chown(file, entry.pw_uid, entry.pw_gid)
