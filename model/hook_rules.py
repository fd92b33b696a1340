"""What the hooks of an estate file must say about themselves and the rest of it, checked on the file's values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from model.estate_file import Path
from model.hints import did_you_mean, shown
from model.hooks import WORD

Found = Iterator[tuple[Path, str]]

CALLS = {
    "snapshot": ("take", "proof"),
    "silence": ("begin", "proof", "end"),
    "balancer": ("drain", "drained", "undrain", "undrained"),
}
"""The calls of each kind of hook, in the order in which they are made."""
_UNTIL = {"until", "until_epoch", "minutes"}


def _hooks(data: Any) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """Every hook with its kind."""
    hooks = data.get("hooks") if isinstance(data, dict) else None
    for number, hook in enumerate(hooks if isinstance(hooks, list) else ()):
        kind = next((key for key in CALLS if isinstance(hook, dict) and key in hook), None)
        if kind is not None:
            yield ("hooks", number), hook, kind


def _calls(data: Any) -> Iterator[tuple[Path, dict[str, Any], str, dict[str, Any]]]:
    """Every call, with its hook's kind and its hook."""
    for path, hook, kind in _hooks(data):
        for name in CALLS[kind]:
            if isinstance(hook.get(name), dict):
                yield (*path, name), hook[name], kind, hook


def hook_credentials(data: Any) -> Iterator[tuple[Path, str]]:
    """The blocks that calls name, all of one kind."""
    for path, call, _, _ in _calls(data):
        if isinstance(call.get("credentials"), str):
            yield (*path, "credentials"), call["credentials"]


def _known_hosts(data: Any) -> Found:
    hosts = data.get("hosts") if isinstance(data, dict) else None
    if not isinstance(hosts, dict) or not hosts:
        return
    named = [((*path, "on"), call["on"]) for path, call, _, _ in _calls(data) if isinstance(call.get("on"), str)]
    for path, hook, kind in _hooks(data):
        listed = hook.get("hosts")
        for number, name in enumerate(listed if isinstance(listed, list) else ()):
            here = (*path, "hosts", number)
            named += [(here, name)] if isinstance(name, str) else []
            roles = hosts[name].get("roles") if isinstance(name, str) and isinstance(hosts.get(name), dict) else None
            if kind == "balancer" and isinstance(roles, list) and "iis" not in roles:
                yield here, f"{name} has not the role iis; a node behind a balancer serves portals"
    for path, name in named:
        if name not in hosts:
            yield path, f"{shown(name)} is not a host of this estate{did_you_mean(name, hosts)}"


def _names_differ(data: Any) -> Found:
    seen: set[tuple[str, str]] = set()
    for path, hook, kind in _hooks(data):
        name = hook[kind]
        if isinstance(name, str):
            if (kind, name.casefold()) in seen:
                yield (*path, kind), f"{shown(name)} stands here twice; remove or rename one"
            seen.add((kind, name.casefold()))


def _secrets_are_sealed(data: Any) -> Found:
    for path, call, _, _ in _calls(data):
        url = call.get("http")
        if not isinstance(url, str) or "credentials" not in call or not url.casefold().startswith("http://"):
            continue
        if not _is_this_machine(url):
            yield (*path, "http"), "would send the secret of its credentials in clear text; write https://"


def _is_this_machine(url: str) -> bool:
    try:
        return ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def _words_are_known_in_time(data: Any) -> Found:
    for path, call, kind, hook in _calls(data):
        first = CALLS[kind][0]
        there = {"estate", "run", *(_UNTIL if kind == "silence" else ("host", "address"))}
        begun = hook.get(first)
        if path[-1] != first and isinstance(begun, dict) and "id_at" in begun:
            there.add("id")
        for field in ("http", "body", "command", "arguments", "expect"):
            for here, text in _texts(call.get(field), (*path, field)):
                for word in WORD.findall(text):
                    if word == "id" and "id" not in there:
                        why = f"say id_at in {first}, which answers it" if path[-1] != first else "this call answers it"
                        yield here, f"{{id}} is not known here: {why}"
                    elif word in {"host", "address", *_UNTIL} and word not in there:
                        what = (
                            "a silence is made once for the estate"
                            if kind == "silence"
                            else "only a silence has an end"
                        )
                        yield here, f"{{{word}}} is not known here: {what}"


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _texts(each, (*path, key))


HOOK_RULES: tuple[Callable[[Any], Found], ...] = (
    _known_hosts,
    _names_differ,
    _secrets_are_sealed,
    _words_are_known_in_time,
)
