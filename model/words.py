"""The words an estate is written in: names, durations, Windows paths, KB numbers, URLs; each refuses with its fix.

A validator raises ``ValueError`` whose text says what is wrong and what to write instead; it never repeats a value
that may be a secret.
"""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, Strict, WithJsonSchema

from model.hints import near, shown

T = TypeVar("T")

_LONGEST = timedelta(days=31)
_DEFAULT_PORTS = {"http": 80, "https": 443}


# Names ---------------------------------------------------------------------------------------------------------------


def _estate_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}", text):
        raise ValueError("an estate's name is up to 32 letters, digits and '-', for example acme-billing")
    return text


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", text):
        raise ValueError(
            f"{shown(text)} is not a host's name: up to 32 letters, digits, '-' and '_', for example web01"
        )
    return text


def _label(text: str) -> str:
    if not text.strip() or text != text.strip():
        raise ValueError("is empty, or has spaces at an end; write the name as Windows shows it")
    if any(ord(c) < 32 for c in text):
        raise ValueError("holds a line break or a control character; write the name on one line")
    return text


def _query(text: str) -> str:
    if not re.match(r"\s*(SELECT|WITH)\b", text, re.IGNORECASE):
        raise ValueError("a query here only reads: it starts with SELECT (or WITH)")
    return text.strip()


def _address(text: str) -> str:
    if "://" in text or "/" in text or not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?|::1", text):
        raise ValueError(
            "an address is a DNS name or an IP address without scheme or port, for example web01.acme.example"
        )
    return text


def _block_name(text: str) -> str:
    # Prefect's own rule for block documents. The value is not repeated: it may be the password itself.
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text) or len(text) > 64:
        raise ValueError(
            "this looks like a secret rather than the name of a block (lower-case letters, digits and '-'); "
            "save the secret in a block and write the block's name here, for example winrm-acme"
        )
    return text


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text):
        raise ValueError(
            f"{shown(text)} is not an S3 bucket's name (3 to 63 lower-case letters, digits, '.' and '-'), "
            "for example acme-backups; the folder inside it goes into prefix"
        )
    return text


def _prefix(text: str) -> str:
    if text.startswith("/") or "\\" in text or ".." in text.split("/"):
        raise ValueError("a prefix has no leading '/', no '\\' and no '..', for example billing/")
    return text if not text or text.endswith("/") else f"{text}/"


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        meant = near(text, available_timezones())
        hint = f"did you mean '{meant}'?" if meant else "write the IANA name, for example America/Toronto"
        raise ValueError(f"{shown(text)} is not a time zone; {hint}") from None
    return text


# Durations and times -------------------------------------------------------------------------------------------------


def parse_duration(text: str) -> timedelta:
    """``90s``, ``30m``, ``2h``, ``1h30m`` or ``2d`` as a duration; ValueError says what to write."""
    match = re.fullmatch(
        r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?", text.replace(" ", ""), re.ASCII
    )
    if match is None or not any(match.groups()):
        raise ValueError(f"{shown(text)} is not a duration; write a number with its unit: 2h, 30m, 90s or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < duration <= _LONGEST:
        raise ValueError(f"{shown(text)} is out of range; a duration is more than 0s and at most 31d")
    return duration


def duration_text(duration: timedelta) -> str:
    """A duration the way an estate writes it: ``2h``, ``1h30m``, ``90s``; fractions of a second are cut."""
    seconds = int(duration.total_seconds())
    if seconds < 120:
        return f"{seconds}s"
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n]
    return "".join(parts)


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    return parse_duration(str(value))


def _clock_time(value: Any) -> Any:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
        raise ValueError("a time of day is HH:MM between 00:00 and 23:59, in quotes: '03:00'")
    return time.fromisoformat(value)


# Windows paths, builds, KBs ------------------------------------------------------------------------------------------


def _check_parts(parts: list[str]) -> None:
    for part in parts:
        if part in {".", ".."}:
            raise ValueError("a path has no '.' or '..' in it; write where it really lies")
        if re.search(r'[<>"|?*:\x00-\x1f]', part) or (part and part[-1] in ". "):
            raise ValueError('a path on Windows has none of <>"|?*: in its names, and no name ends in a dot or space')


def _local_path(text: str) -> str:
    if not re.match(r"[A-Za-z]:\\", text):
        fix = "" if "/" not in text else " (and backslashes)"
        raise ValueError(f"a path on a host starts with its drive{fix} and stands in single quotes: 'D:\\Work'")
    _check_parts(text[3:].rstrip("\\").split("\\"))
    return text[:1].upper() + (text[1:].rstrip("\\") if len(text) > 3 else text[1:])


def _share_path(text: str) -> str:
    parts = text.rstrip("\\").split("\\")
    if not text.startswith("\\\\") or len(parts) < 4 or not all(parts[2:]):
        raise ValueError("a share is \\\\server\\share, in single quotes: '\\\\nas01\\billing'")
    _check_parts(parts[2:])
    return text.rstrip("\\")


def any_path(text: str) -> str:
    """A path on a host or on a share, without a backslash at its end; ValueError says what to write."""
    return _share_path(text) if text.startswith("\\\\") else _local_path(text)


def _package_source(text: str) -> str:
    """A path, ``https://server/path`` or ``s3://bucket/key``: what a host can pull by itself."""
    scheme = text.partition("://")[0].casefold() if "://" in text else ""
    if scheme == "s3":
        bucket, _, key = text[5:].partition("/")
        _bucket(bucket)
        if not key or key.endswith("/") or re.search(r"[\\?#\x00-\x20]", key) or ".." in key.split("/"):
            raise ValueError(
                "an object in S3 is s3://bucket/key, for example s3://acme-backups/packages/agent-4.2.0.msi"
            )
    elif scheme:
        if scheme != "https" or not split_url(text).path.strip("/"):
            raise ValueError("a package comes by https://server/file, from s3://bucket/key, or from a path of the host")
        if "?" in text or "#" in text:
            # Not repeated: what stands behind the '?' of a download is a secret as often as not.
            raise ValueError("a URL here has no '?' and no '#'; a link that holds a signature expires, and is a secret")
    else:
        any_path(text)
    if not file_name(text).strip(". "):
        raise ValueError("names no file; write the whole path of the package")
    return text


def file_name(source: str) -> str:
    """The name of the file that a path or URL leads to."""
    return re.split(r"[\\/]", source)[-1]


def exit_code(value: Any) -> Any:
    """An exit code as it is written: 3010, -2067919934, 0x240006; as a process answers it: signed."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"-?\d{1,10}|0[xX][0-9a-fA-F]{1,8}", text, re.ASCII):
        raise ValueError("an exit code is a whole number such as 3010, or 0x240006")
    code = int(text, 0) if text[:2].casefold() == "0x" else int(text)
    if not -(1 << 31) <= code < 1 << 32:
        raise ValueError("an exit code has 32 bits: -2147483648 to 4294967295")
    return code - (1 << 32) if code >= 1 << 31 else code


def _version(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,63}", text, re.ASCII) or not re.search(r"\d", text):
        raise ValueError("a version is written as the product shows it, in quotes: '4.2.0'")
    return text


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError("holds the version in its one group: 'EngageIP ([0-9.]+)'")
    return text


def _registry_key(text: str) -> str:
    if not re.fullmatch(r"HKLM\\[^\\\x00-\x1f]+(\\[^\\\x00-\x1f]+)*", text):
        raise ValueError("a registry key is HKLM\\ and its path, in single quotes: 'HKLM\\SOFTWARE\\Acme\\Agent'")
    return text


def _build(text: str) -> str:
    if not re.fullmatch(r"\d{1,5}(\.\d{1,5}){3}", text, re.ASCII):
        raise ValueError("a build is four numbers as SERVERPROPERTY('ProductVersion') says, in quotes: '15.0.4430.1'")
    if re.match(r"1[123]\.[1-9]", text):
        raise ValueError(
            f"ProductVersion has 0 as its second number ({re.sub(r'[.][0-9]+', '.0', text, count=1)}); in {text} it is the "
            f"service pack, as setup writes it into the registry"
        )
    return text


def build_numbers(build: str) -> tuple[int, ...]:
    """A build as numbers, to be compared as such: 15.0.4430.1 is newer than 15.0.980.3."""
    return tuple(int(number) for number in build.split("."))


def kb_name(value: Any) -> str:
    """``KB5034439`` for 5034439, '5034439' and 'kb5034439'; ValueError for anything else."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"(?:KB)?(\d{5,8})", text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError("a KB is KB and its number, for example KB5034439")
    return f"KB{match[1]}"


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("a SHA-256 is 64 hexadecimal digits, as Get-FileHash prints it")
    return text.lower()


# URLs ----------------------------------------------------------------------------------------------------------------


def split_url(text: str) -> SplitResult:
    """The parts of an http(s) URL; ValueError without the URL's text where it is none, or holds a password."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        url = None
    if url is None or url.scheme not in _DEFAULT_PORTS or not url.hostname or any(c.isspace() for c in text):
        raise ValueError(
            "a URL is http:// or https://, a host and a path, for example https://billing.acme.example/AdminPortal"
        )
    if url.username is not None:
        raise ValueError("a URL holds no user name or password; remove what stands before the '@'")
    return url


def url_port(text: str) -> int:
    """The port a URL speaks to, with the scheme's own as default."""
    url = split_url(text)
    return url.port or _DEFAULT_PORTS[url.scheme]


def _url(text: str) -> str:
    split_url(text)
    return text


def _distinct(items: tuple[T, ...]) -> tuple[T, ...]:
    for number, item in enumerate(items):
        if item in items[:number]:
            raise ValueError(f"{shown(item)} stands here twice; remove one")
    return items


_Text = Annotated[str, Strict()]
EstateName = Annotated[_Text, AfterValidator(_estate_name)]
HostName = Annotated[_Text, AfterValidator(_host_name)]
Label = Annotated[_Text, AfterValidator(_label)]
Query = Annotated[_Text, AfterValidator(_query)]
Address = Annotated[_Text, AfterValidator(_address)]
BlockName = Annotated[_Text, AfterValidator(_block_name)]
Bucket = Annotated[_Text, AfterValidator(_bucket)]
Prefix = Annotated[_Text, AfterValidator(_prefix)]
TimeZoneName = Annotated[_Text, AfterValidator(_time_zone)]
LocalPath = Annotated[_Text, AfterValidator(_local_path)]
SharePath = Annotated[_Text, AfterValidator(_share_path)]
AnyPath = Annotated[_Text, AfterValidator(any_path)]
PackageSource = Annotated[_Text, AfterValidator(_package_source)]
ExitCode = Annotated[int, BeforeValidator(exit_code)]
Version = Annotated[_Text, AfterValidator(_version)]
VersionPattern = Annotated[_Text, AfterValidator(_pattern)]
RegistryKey = Annotated[_Text, AfterValidator(_registry_key)]
Build = Annotated[_Text, AfterValidator(_build)]
Kb = Annotated[str, BeforeValidator(kb_name)]
Sha256 = Annotated[_Text, AfterValidator(_sha256)]
Url = Annotated[_Text, AfterValidator(_url)]
Number = Annotated[int, Strict()]
Switch = Annotated[bool, Strict()]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?$"}),
]
TimeOfDay = Annotated[
    time,
    BeforeValidator(_clock_time),
    PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^\\d\\d:\\d\\d$"}),
]
Distinct = AfterValidator(_distinct)
