"""Which ODBC driver speaks to SQL Server, and how its connection strings are written."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.sql_errors import SqlDriverMissing

_INSTALLED = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server")
_LEGACY = "SQL Server"  # the driver of Windows 2000: no TLS 1.2, no datetime2
_lock = threading.Lock()


@dataclass(frozen=True)
class Driver:
    """``name`` as a connection string has it: an installed driver's, or the absolute path of a library."""

    name: str

    @property
    def is_freetds(self) -> bool:
        """FreeTDS never validates a certificate: it cannot catch a TLS mistake."""
        return "freetds" in self.name.lower() or "libtdsodbc" in self.name.lower()


def load_pyodbc(host: str) -> Any:
    """The module pyodbc, with pooling off: a pooled 'connect' succeeds on a dead session.

    Raises SqlDriverMissing where unixODBC is not there.
    """
    pyodbc: Any
    with _lock:
        try:
            pyodbc = importlib.import_module("pyodbc")
        except ImportError as missing:
            unix = "libodbc" in str(missing)
            cause = (
                "unixODBC is missing on this machine (libodbc.so.2)" if unix else "the Python package pyodbc is missing"
            )
        else:
            pyodbc.pooling = False
            return pyodbc
    raise SqlDriverMissing(host, cause, "Run: apt install unixodbc" if unix else "Run: pip install pyodbc")


def choose(host: str, named: str | None, installed: Iterable[str]) -> Driver:
    """The driver to use: the named one, else ODBC Driver 18 or 17 if installed, else the wheel's, else FreeTDS.

    Raises SqlDriverMissing where there is none, and for the legacy driver.
    """
    known = list(installed)
    if named:
        if named == _LEGACY:
            raise SqlDriverMissing(host, "the driver {SQL Server} is too old", "Name ODBC Driver 18 for SQL Server.")
        if named not in known and not Path(named).is_file():
            have = ", ".join(known) or "none"
            raise SqlDriverMissing(host, f"there is no ODBC driver '{named}' (installed: {have})", "Correct its name.")
        return Driver(named)
    for name in _INSTALLED:
        if name in known:
            return Driver(name)
    wheel = from_wheel()
    if wheel:
        return Driver(str(wheel))
    freetds = next((name for name in known if "freetds" in name.lower()), None) or _freetds_library()
    if freetds:
        return Driver(freetds)
    fix = "Install Microsoft's ODBC driver 18, or: pip install mssql-python-odbc"
    raise SqlDriverMissing(host, "there is no ODBC driver for SQL Server on this machine", fix)


def from_wheel() -> Path | None:
    """The library in the package mssql-python-odbc that fits this machine."""
    found = importlib.util.find_spec("mssql_python_odbc")
    if found is None or not found.origin:
        return None
    machine = platform.machine().lower()
    names = {"arm64", "aarch64"} if machine in ("arm64", "aarch64") else {"x86_64", "amd64"}
    libraries = sorted(Path(found.origin).parent.glob("libs/*/**/libmsodbcsql*"))
    fitting = [path for path in libraries if names & set(path.parts)]
    preferred = _families()
    order = {family: number for number, family in enumerate(preferred)}
    ranked = sorted(fitting, key=lambda path: min((order[p] for p in path.parts if p in order), default=len(order)))
    return ranked[0] if ranked else None


def _families() -> list[str]:
    """Folders of the wheel, the one for this system first: its libraries are linked against that system's OpenSSL."""
    if platform.system() == "Darwin":
        return ["macos"]
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    like = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}"
    families = {
        "debian_ubuntu": ("debian", "ubuntu"),
        "rhel": ("rhel", "fedora", "centos"),
        "suse": ("suse",),
        "alpine": ("alpine",),
    }
    first = [family for family, ids in families.items() if any(one in like for one in ids)]
    return [*first, *(family for family in families if family not in first)]


def _freetds_library() -> str | None:
    for folder in ("/usr/lib/x86_64-linux-gnu/odbc", "/usr/lib/aarch64-linux-gnu/odbc", "/usr/lib64"):
        path = Path(folder) / "libtdsodbc.so"
        if path.is_file():
            return str(path)
    return None


def braced(value: str) -> str:
    """A value for a connection string, whatever characters it has."""
    return "{" + value.replace("}", "}}") + "}"


def connection_string(driver: Driver, fields: Mapping[str, str]) -> str:
    """``DRIVER={...};KEY={value};...`` with every value braced."""
    return ";".join(f"{key}={braced(value)}" for key, value in {"DRIVER": driver.name, **fields}.items())
