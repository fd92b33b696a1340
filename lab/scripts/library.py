"""What ``powershell/lib`` gives every script, told over a lab host: state files, lease and fence, boot id, secrets."""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lab.disk import DiskFull
from lab.host import Host
from lab.scripts import ScriptFailure

ROOT = r"C:\ProgramData\EngageIPPatching"


# Dates ----------------------------------------------------------------------------------------------------------------


def iso(moment: datetime) -> str:
    """A date as 2026-01-31T02:03:04.567Z; what is below a millisecond is cut off, not rounded."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def now() -> str:
    """The clock of every lab host."""
    return iso(datetime.now(UTC))


# Files ----------------------------------------------------------------------------------------------------------------


def read_json(host: Host, path: str) -> Any:
    """The object in a file of the host, or None where there is no such file."""
    with host.lock:
        file = host.disk.path(path)
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write_json(host: Host, path: str, value: Any) -> None:
    """Replace a file as a whole."""
    write_file(host, path, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def write_file(host: Host, path: str, data: bytes) -> None:
    """Replace a file as a whole; its folder must be there."""
    with host.lock:
        try:
            fresh = host.disk.write(rf"{path}.{uuid.uuid4().hex}.new", data)
        except DiskFull as full:
            raise ScriptFailure(str(full.strerror), "IOException", "System.IO.IOException", -2147024784) from None
        fresh.replace(host.disk.path(path))


_PROGRAM_DATA = "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;DCLCRPCR;;;BU)"
_OURS_ALONE = "PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
_NAMES = {"AU": "Authenticated Users", "BU": "Users", "CO": "Creator Owner", "IU": "Interactive", "WD": "Everyone"}


def _dacl(acl: dict[str, Any], path: str) -> str:
    """The access list of a path (SDDL): its own, and what the folders above hand down to one that is not protected."""
    if not path.casefold().startswith("c:\\programdata\\"):
        return _PROGRAM_DATA
    own: str = acl.get(path, {}).get("dacl", "AI")
    if own.startswith(("P", "NO_ACCESS")):
        return own
    above = _dacl(acl, path.rpartition("\\")[0])
    if above.startswith("NO_ACCESS"):
        return above
    handed = re.findall(r"\(A;([A-Z]*(?:OI|CI)[A-Z]*);([^)]*)\)", above)
    return own + "".join(f"(A;{flags.replace('ID', '')}ID;{rest})" for flags, rest in handed)


def _others(dacl: str) -> list[str]:
    """Whom else than SYSTEM and Administrators it lets in, each once."""
    if dacl.startswith("NO_ACCESS"):
        return ["Everyone"]
    found = [who for who in re.findall(r"\(A;[^;]*;[^;]*;[^;]*;[^;]*;([^;()]+)", dacl) if who not in ("SY", "BA")]
    return list(dict.fromkeys(_NAMES.get(who, who) for who in found))


def _owner_fault(host: Host, path: str) -> ScriptFailure | None:
    if host.disk.path(path).is_symlink():
        message = f"{path} is a link to another place. Remove it: patching makes the folder itself."
        return ScriptFailure(message, "FolderIsLink")
    if host.read("acl.json").get(path, {"owner": "BA"})["owner"] not in ("SY", "BA"):
        message = (
            f"{path} belongs neither to SYSTEM nor to Administrators. Look at what is in it, then remove it: "
            "patching makes the folder itself."
        )
        return ScriptFailure(message, "FolderOwner")
    return None


def folder_fault(host: Host, path: str) -> ScriptFailure | None:
    """Why a folder, or a file in it, cannot be ours alone; None where it is."""
    if (fault := _owner_fault(host, path)) is not None:
        return fault
    if others := _others(_dacl(host.read("acl.json"), path)):
        message = (
            f"{path} lets others in than SYSTEM and Administrators: {', '.join(others)}. Look at what is in it, then "
            "remove it: patching makes the folder itself."
        )
        return ScriptFailure(message, "FolderAccess")
    return None


def initialize_root(host: Host, path: str = ROOT) -> None:
    """Make the folder that only SYSTEM and Administrators have rights to, or refuse the one that is there.

    ``acl.json`` keeps owners and access lists: ``{path: {"owner": "BA", "dacl": "AI(A;OICI;FA;;;BU)"}}``, without what is
    handed down.
    """
    with host.lock, host.edit("acl.json") as acl:
        host.disk.path(path).mkdir(parents=True, exist_ok=True)
        if (fault := _owner_fault(host, path)) is not None:
            raise fault
        dacl = _dacl(acl, path)
        complete = all(f"(A;OICI;FA;;;{who})" in dacl for who in ("SY", "BA"))
        if dacl.startswith("P") and complete and not _others(dacl):
            return
        if "@denied" in acl:
            message = (
                f"{path} could not be protected: Attempted to perform an unauthorized operation. "
                "Check that the account is an administrator."
            )
            raise ScriptFailure(message, "FolderProtection")
        acl[path] = {"owner": "BA", "dacl": _OURS_ALONE}


def initialize_folder(host: Host, path: str) -> None:
    """Make a folder below the root, or refuse the one that is there, one on the way to it, or what lies in it."""
    level = ROOT
    for name in path[len(ROOT) + 1 :].split("\\"):
        level = rf"{level}\{name}"
        if host.disk.path(level).exists() and (fault := folder_fault(host, level)) is not None:
            raise fault
    host.disk.path(path).mkdir(parents=True, exist_ok=True)
    for file in sorted(host.disk.path(path).iterdir()):
        if (fault := folder_fault(host, rf"{path}\{file.name}")) is not None:
            raise fault


# Registry -------------------------------------------------------------------------------------------------------------


def _key(tree: dict[str, Any], path: str) -> dict[str, Any] | None:
    here: Any = tree
    for part in path.split("\\"):
        name = next((name for name in here if name.casefold() == part.casefold()), None)
        if name is None or not isinstance(here[name], dict):
            return None
        here = here[name]
    return dict(here)


def machine_value(host: Host, key: str, name: str) -> Any:
    """A value under HKEY_LOCAL_MACHINE, or None."""
    found = _key(host.read("registry.json"), rf"HKLM\{key}") or {}
    return next((value for n, value in found.get("@", {}).items() if n.casefold() == name.casefold()), None)


def machine_key(host: Host, key: str) -> bool:
    """Whether a key is there under HKEY_LOCAL_MACHINE."""
    return _key(host.read("registry.json"), rf"HKLM\{key}") is not None


def _child(here: dict[str, Any], name: str) -> dict[str, Any]:
    actual = next((n for n in here if n.casefold() == name.casefold()), name)
    child: dict[str, Any] = here.setdefault(actual, {})
    return child


def set_value(host: Host, key: str, name: str, value: Any, *, volatile: bool = False) -> None:
    """Write a value under HKEY_LOCAL_MACHINE, making its key; a volatile key is gone after a boot."""
    with host.edit("registry.json") as registry:
        here = _child(registry, "HKLM")
        for part in key.split("\\"):
            here = _child(here, part)
        if volatile:
            here["@volatile"] = True
        here.setdefault("@", {})[name] = value


def boot_id(host: Host) -> str | None:
    """What marks this boot, or None when no acting script has run since it."""
    value: str | None = machine_value(host, r"SOFTWARE\EngageIPPatching\Boot", "Id")
    return value


def initialize_boot_id(host: Host) -> str:
    """What marks this boot; made when it is first asked for."""
    with host.lock:
        found = boot_id(host)
        if found is None:
            found = str(uuid.uuid4())
            set_value(host, r"SOFTWARE\EngageIPPatching\Boot", "Id", found, volatile=True)
        return found


def last_boot(host: Host) -> datetime:
    """LastBootUpTime of Win32_OperatingSystem."""
    text: str = host.read("cim.json")["Win32_OperatingSystem"][0]["LastBootUpTime"]
    # fromisoformat knows six digits of a second; WMI may give seven.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


# The lease ------------------------------------------------------------------------------------------------------------


def lease(host: Host) -> dict[str, Any] | None:
    """lease.json, or None."""
    found: dict[str, Any] | None = read_json(host, rf"{ROOT}\lease.json")
    return found


def assert_fence(host: Host, fence: int) -> None:
    """Refuse an act of a run whose lease another run has taken over since."""
    held = lease(host)
    if held is not None and held["fence"] > fence:
        message = (
            f"Refused: this act carries fence {fence}, and the host's lease is at {held['fence']}, held by "
            f"{held['holder']} for {held['key']}. Another run has taken over this estate: stop this one."
        )
        raise ScriptFailure(message, "FenceTooLow")


# Secrets --------------------------------------------------------------------------------------------------------------


def _dpapi(host: Host) -> AESGCM:
    file = host.folder / "dpapi.key"
    with host.lock:
        if not file.exists():
            file.write_bytes(os.urandom(32))
            file.chmod(0o600)
        return AESGCM(file.read_bytes())


def protect(host: Host, secrets: dict[str, str]) -> bytes:
    """Names and secret texts as bytes that only this host can open (nonce, tag, sealed text)."""
    lines = [f"{name}={base64.b64encode(str(value).encode()).decode()}" for name, value in secrets.items()]
    nonce = os.urandom(12)
    sealed = _dpapi(host).encrypt(nonce, "\n".join(lines).encode(), b"")
    return nonce + sealed[-16:] + sealed[:-16]


def unprotect(host: Host, blob: bytes) -> dict[str, str]:
    """The names and secret texts of such bytes."""
    clear = _dpapi(host).decrypt(blob[:12], blob[28:] + blob[12:28], b"").decode()
    pairs = (line.split("=", 1) for line in clear.split("\n") if "=" in line)
    return {name: base64.b64decode(value).decode() for name, value in pairs}
