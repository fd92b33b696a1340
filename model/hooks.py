"""What is asked of the systems around an estate during a night: hypervisor, monitoring, load balancer.

A hook is made of calls. Each call is an HTTP request of this machine, a program on this machine, or a script that lies on
a host of the estate; which of them makes no difference to the rest. In its texts stand words in braces, filled in when
it is made (``{host}``). What a call has answered proves something only by ``expect``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, Tag

from model.checks import Severity
from model.hints import did_you_mean, shown
from model.parts import Part, by_first_field
from model.words import (
    AnyPath,
    BlockName,
    Distinct,
    Duration,
    HostName,
    Label,
    Number,
    Sha256,
    split_url,
)

WORDS = {
    "estate": "name of the estate",
    "run": "the run's key",
    "host": "name of the host, for a call that is made for each host",
    "address": "address of that host",
    "until": "when the silence must end: ISO 8601, in UTC",
    "until_epoch": "the same in seconds since 1970",
    "minutes": "the same in whole minutes from now",
    "id": "what the hook's first call has answered at id_at",
}
WORD = re.compile(r"\{([A-Za-z_]+)\}")
"""A word in braces."""
_LONGEST_ID = 200


def _template(text: str) -> str:
    for word in WORD.findall(text):
        if word not in WORDS:
            raise ValueError(f"there is no word {shown('{' + word + '}')} here{did_you_mean(word, WORDS)}")
    return text


def _hook_url(text: str) -> str:
    _template(text)
    split_url(WORD.sub("x", text))
    return text


def _body(value: Any) -> Any:
    for text in _texts(value):
        _template(text)
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


Template = Annotated[Label, AfterValidator(_template)]
HookUrl = Annotated[Label, AfterValidator(_hook_url)]

_AT = Field(
    default=None,
    title="At",
    description="Where in a JSON answer the expected value stands, the names of its levels parted by dots. Unsaid: anywhere.",
    examples=["value.state"],
)
_EXPECT = Field(
    default=None,
    title="Expected",
    description="What the answer must be at that place, or contain: the proof. Unsaid: any answer will do.",
    examples=["ready"],
)
_ID_AT = Field(
    default=None,
    title="Id at",
    description="Where in a JSON answer the id stands that later calls name as {id}; a dot alone: the whole answer.",
    examples=["value.id"],
)


class HttpCall(Part):
    """A request over HTTP, made by this machine; an answer of 2xx is one."""

    http: HookUrl = Field(
        title="URL",
        description="What is asked; with credentials by https only.",
        examples=["https://vcenter.acme.example/api/vms/{host}/snapshots"],
    )
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", title="Method", description="Method of the request.", examples=["POST"]
    )
    body: Annotated[dict[str, JsonValue], BeforeValidator(_body)] | None = Field(
        default=None,
        title="Body",
        description="Sent as JSON. A value that is {minutes} or {until_epoch} and nothing else is sent as a number.",
        examples=[{"name": "{run}"}],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block with the header that lets us in.",
        examples=["vcenter-acme"],
    )
    at: Label | None = _AT
    expect: Template | None = _EXPECT
    id_at: Label | None = _ID_AT


class CommandCall(Part):
    """A program on this machine; exit code 0 is success, and what it prints is the answer."""

    command: Annotated[tuple[Template, ...], Field(min_length=1)] = Field(
        title="Command",
        description="Program and arguments, each an entry of its own; no shell reads them.",
        examples=[["/opt/ops/silence", "--until", "{until}"]],
    )
    credentials: BlockName | None = Field(
        default=None,
        title="Credentials",
        description="Name of the block whose secret the program finds in the environment as BILLPATCH_SECRET.",
        examples=["zabbix-acme"],
    )
    at: Label | None = _AT
    expect: Template | None = _EXPECT
    id_at: Label | None = _ID_AT


class PowerShellCall(Part):
    """A script of your own on a host, run there as the patching user; what it writes last is the answer."""

    powershell: AnyPath = Field(
        title="Script", description="Path of the script as the host sees it.", examples=[r"C:\Ops\Set-Node.ps1"]
    )
    on: HostName = Field(title="Host", description="The host that runs it.", examples=["web01"])
    sha256: Sha256 = Field(
        title="SHA-256", description="The script's hash; one that has changed is not run.", examples=["9f86d081" * 8]
    )
    arguments: dict[Label, Template] = Field(
        default={}, title="Arguments", description="Its parameters by name; no secrets.", examples=[{"node": "{host}"}]
    )
    at: Label | None = _AT
    expect: Template | None = _EXPECT
    id_at: Label | None = _ID_AT


Call = Annotated[
    Annotated[HttpCall, Tag("HttpCall")]
    | Annotated[CommandCall, Tag("CommandCall")]
    | Annotated[PowerShellCall, Tag("PowerShellCall")],
    by_first_field(HttpCall, CommandCall, PowerShellCall),
]

_HTTP_EXAMPLE = {"http": "https://ops.acme.example/nodes/{host}", "at": "state", "expect": "drained"}
_SEVERITY = "must: where it fails, the night stops; should: it is reported, and the night goes on."


def _call(title: str, description: str) -> Any:
    return Field(title=title, description=description, examples=[_HTTP_EXAMPLE])


def _deadline(default: timedelta, example: str) -> Any:
    return Field(
        default=default,
        title="Deadline",
        description="How long a call and its proof may take together.",
        examples=[example],
    )


class SnapshotHook(Part):
    """The hypervisor takes a snapshot of machines, after their backups and before anything is installed."""

    KEY: ClassVar[str] = "snapshot"

    snapshot: Label = Field(title="Snapshots", description="What people call the hypervisor.", examples=["vcenter"])
    hosts: Annotated[tuple[HostName, ...], Distinct] | None = Field(
        default=None,
        min_length=1,
        title="Hosts",
        description="The machines. Unsaid: every host of the estate.",
        examples=[["sql01", "web01"]],
    )
    take: Call = _call("Take", "Takes the snapshot of {host}; id_at says where its id is answered.")
    proof: Call = _call("Proof", "Asked until it answers as expected: the snapshot {id} of {host} is there.")
    delete_within: Duration = Field(
        default=timedelta(days=3),
        title="Delete within",
        description="When somebody must have deleted it; the report, and from then on every check, remind of it.",
        examples=["3d"],
    )
    severity: Severity = Field(default="must", title="Severity", description=_SEVERITY, examples=["must"])
    deadline: Duration = _deadline(timedelta(minutes=10), "10m")


class SilenceHook(Part):
    """Monitoring is silent from before the estate is made quiet until it is up again, and at most until the window ends."""

    KEY: ClassVar[str] = "silence"

    silence: Label = Field(title="Silence", description="What people call the monitoring.", examples=["zabbix"])
    begin: Call = _call("Begin", "Begins a silence that ends by itself at {until}.")
    proof: Call = _call("Proof", "Asked until it answers as expected: the silence is in force.")
    end: Call | None = Field(
        default=None,
        title="End",
        description="Ends the silence {id}, once everything is up again. Unsaid: it ends by itself.",
        examples=[_HTTP_EXAMPLE],
    )
    hours: Number = Field(
        default=4,
        ge=1,
        le=24,
        title="Hours",
        description="How long it may last where the estate has no window, or its window has closed by then.",
        examples=[4],
    )
    severity: Severity = Field(default="should", title="Severity", description=_SEVERITY, examples=["should"])
    deadline: Duration = _deadline(timedelta(minutes=2), "2m")


class BalancerHook(Part):
    """A load balancer sends a node no customers from before its restart until it has proven itself."""

    KEY: ClassVar[str] = "balancer"

    balancer: Label = Field(title="Balancer", description="What people call it.", examples=["f5"])
    hosts: Annotated[tuple[HostName, ...], Distinct] | None = Field(
        default=None,
        min_length=1,
        title="Nodes",
        description="The hosts behind it. Unsaid: every iis host.",
        examples=[["web01", "web02"]],
    )
    drain: Call = _call("Drain", "Tells it to send {host} nothing new.")
    drained: Call = _call("Drained", "Asked until it answers as expected: nothing of {host} is in use any more.")
    undrain: Call = _call(
        "Undrain", "Tells it to send {host} customers again; made again where nobody knows whether it was."
    )
    undrained: Call = _call("Undrained", "Asked until it answers as expected: {host} is in use again.")
    severity: Severity = Field(default="should", title="Severity", description=_SEVERITY, examples=["should"])
    deadline: Duration = _deadline(timedelta(minutes=5), "5m")


Hook = Annotated[
    Annotated[SnapshotHook, Tag("SnapshotHook")]
    | Annotated[SilenceHook, Tag("SilenceHook")]
    | Annotated[BalancerHook, Tag("BalancerHook")],
    by_first_field(SnapshotHook, SilenceHook, BalancerHook),
]


AnyCall = HttpCall | CommandCall | PowerShellCall
AnyHook = SnapshotHook | SilenceHook | BalancerHook


def name_of(hook: AnyHook) -> str:
    """What people call the system that it asks."""
    return str(getattr(hook, hook.KEY))


def calls_of(hook: AnyHook) -> tuple[AnyCall, ...]:
    """Its calls, in the order of its fields."""
    values = (getattr(hook, field) for field in type(hook).model_fields)
    return tuple(value for value in values if isinstance(value, AnyCall))


# What a host remembers of them -----------------------------------------------------------------------------------------


def asked_section(hook: AnyHook) -> str:
    """The section of ``quiesce.json`` that says: this system was asked, or is about to be."""
    return f"hook-{hook.KEY}-{name_of(hook)}"


def answered_section(hook: AnyHook) -> str:
    """The section with what it has answered: ``{"id", "until"}``."""
    return f"{asked_section(hook)}-answered"


def carried(held: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Sections of quiesce ``number`` that are not true of the next one, under the names by which they are remembered.

    A snapshot of before customers worked again is no way back any more, and is still to be deleted.
    """
    snapshots = f"hook-{SnapshotHook.KEY}-"
    return {f"earlier-{number}-{section}": value for section, value in held.items() if section.startswith(snapshots)}


def answers(hook: AnyHook, held: Mapping[str, Any]) -> list[dict[str, str]]:
    """All that a hook has answered, as a host remembers it: for this quiesce, and for those that it goes on with."""
    return _also_earlier(answered_section(hook), held)


def unanswered(hook: AnyHook, held: Mapping[str, Any]) -> list[dict[str, str]]:
    """The times that a hook was asked, or was about to be, and nobody has heard an answer."""
    heard = {section.removesuffix("-answered") for section in held if section.endswith("-answered")}
    return _also_earlier(asked_section(hook), {section: held[section] for section in held if section not in heard})


def _also_earlier(section: str, held: Mapping[str, Any]) -> list[dict[str, str]]:
    name = re.compile(rf"(earlier-\d+-)*{re.escape(section)}")
    return [value for known, value in held.items() if name.fullmatch(known)]


# Filling in ----------------------------------------------------------------------------------------------------------


def silence_words(until: datetime, now: datetime) -> dict[str, str]:
    """The words that tell when a silence ends."""
    return {
        "until": until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "until_epoch": str(int(until.timestamp())),
        "minutes": str(max(1, round((until - now).total_seconds() / 60))),
    }


def filled(text: str, words: Mapping[str, str], *, url: bool = False) -> str:
    """``text`` with its words put in; percent-encoded in a URL. A word that is not known yet stays as it is."""

    def put(match: re.Match[str]) -> str:
        word = words.get(match[1])
        if word is None:
            return match[0]
        return quote(word, safe="") if url else word

    return WORD.sub(put, text)


def filled_body(value: JsonValue, words: Mapping[str, str]) -> JsonValue:
    """A body with its words put in; ``{minutes}`` and ``{until_epoch}`` alone become numbers."""
    if isinstance(value, str):
        text = filled(value, words)
        return int(text) if value in {"{minutes}", "{until_epoch}"} and text.isdigit() else text
    if isinstance(value, dict):
        return {key: filled_body(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [filled_body(each, words) for each in value]
    return value


# Reading answers -----------------------------------------------------------------------------------------------------


def picked(answer: str, at: str) -> str | None:
    """What stands at ``at`` in an answer, as text; None where there is nothing, or the answer is no JSON."""
    if at == ".":
        return answer.strip() or None
    try:
        here: Any = json.loads(answer)
    except ValueError:
        return None
    for name in at.split("."):
        if isinstance(here, dict) and name in here:
            here = here[name]
        elif isinstance(here, list) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        else:
            return None
    if isinstance(here, str):
        return here
    return None if here is None else json.dumps(here)


def id_in(call: AnyCall, answer: str) -> str | None:
    """The id that an answer gives; None where it gives none, or nothing that is one."""
    found = picked(answer, call.id_at) if call.id_at else None
    return found if found and len(found) <= _LONGEST_ID and "\n" not in found else None


def misses(call: AnyCall, answer: str, words: Mapping[str, str]) -> str | None:
    """Why an answer is not the expected one; None where it is."""
    if call.expect is None:
        return None
    wanted = filled(call.expect, words)
    if call.at is None:
        return None if wanted in answer else f"its answer does not contain '{wanted}'"
    found = picked(answer, call.at)
    if found == wanted:
        return None
    return f"{call.at} is {'not in its answer' if found is None else shown(found)}, not '{wanted}'"
