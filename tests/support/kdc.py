"""A Kerberos realm of the test's own: Debian's krb5kdc on loopback, with its database, ports and files in one folder."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

REALM = "ACME.TEST"
PORT = 8088
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local")
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def missing() -> list[str]:
    """The programs that a KDC needs and that are not here."""
    return [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]


class Kdc:
    """A running KDC; ``config`` is the krb5.conf that leads to it, ``max_life`` the longest ticket, in seconds."""

    def __init__(self, folder: Path, *, max_life: int = 36_000) -> None:
        folder.mkdir(parents=True)
        # An address of its own: tests run side by side, and a free port may be gone before the KDC has it.
        self.folder, self.address = (
            folder,
            f"127.{secrets.randbelow(60) + 1}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}",
        )
        self.config = folder / "krb5.conf"
        self.log = folder / "kdc.log"
        # Nothing of this may come from the network's DNS: a test must not depend on how this machine is called.
        self.config.write_text(
            "[libdefaults]\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"
            f"[realms]\n {REALM} = {{\n  kdc = {self.address}:{PORT}\n }}\n"
        )
        (folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = {self.address}:{PORT}\n kdc_tcp_listen = {self.address}:{PORT}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {folder}/principal\n  key_stash_file = {folder}/stash\n"
            f"  acl_file = {folder}/acl\n  max_life = {max_life}s\n  default_principal_flags = +preauth\n }}\n"
            f"[logging]\n kdc = FILE:{self.log}\n"
        )
        # The programs read a realm of their own too: the one that serves must have it as its default.
        server = folder / "server.conf"
        server.write_text(
            self.config.read_text().replace("[libdefaults]\n", f"[libdefaults]\n default_realm = {REALM}\n")
        )
        self._environment = os.environ | {
            "KRB5_CONFIG": str(server), "KRB5_KDC_PROFILE": str(folder / "kdc.conf"), "PATH": _PATH,
        }  # fmt: skip
        self._run("kdb5_util", "create", "-s", "-P", "master-key-of-a-test")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve; returns when the KDC listens."""
        self._process = subprocess.Popen(
            ["krb5kdc", "-n"], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((self.address, PORT)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"krb5kdc did not start: {self.log.read_text() if self.log.exists() else 'no log'}")

    def stop(self) -> None:
        """End the KDC; what it has issued stays good."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def principal(self, name: str, password: str | None = None, *flags: str) -> None:
        """Add ``name`` with a password, or with a random key."""
        self.admin(f"addprinc {' '.join(flags)} {f'-pw {password}' if password else '-randkey'} {name}")

    def admin(self, line: str) -> None:
        """One line of ``kadmin.local``."""
        self._run("kadmin.local", "-q", line)

    def keytab(self, name: str, *principals: str) -> Path:
        """A keytab file with the keys of ``principals``, which keep their passwords."""
        path = self.folder / name
        self.admin(f"ktadd -q -norandkey -k {path} {' '.join(principals)}")
        return path

    def asked(self, request: str, principal: str = "") -> int:
        """How many requests of a kind (``AS_REQ``, ``TGS_REQ``) the KDC has logged that name ``principal``."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return len([line for line in lines if request in line and principal in line])

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"{command}: {done.stderr}"
