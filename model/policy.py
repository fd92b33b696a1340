"""Which of the updates that a scan found may be installed, and why the others may not.

SQL Server products, upgrades of Windows, previews, drivers and Defender definitions never go in through Windows
Update, whatever the estate says: SQL Server is patched by declared packages, in its order and with its own gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import field_validator, model_validator

from model.records import Answer
from model.titles import is_preview, is_servicing_stack
from model.update_words import size_text
from model.wanted import SEVERITIES, Updates
from model.words import kb_name

DEFENDER_DEFINITIONS = "KB2267602"

# CategoryIDs of Microsoft's update classifications: names are localized, these are not.
_CLASSIFICATION_IDS = {
    "0fa1201d-4330-4fa8-8ae9-b877473b6441": "security",
    "e6cf1350-c01b-414d-a61f-263d14d133b4": "critical",
    "28bc880e-0592-4cbf-8f95-c79b17911d5f": "rollups",
    "68c5b0a3-d1a6-4553-ae49-01d3a7827828": "service-packs",
    "cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83": "updates",
    "b54e7d24-7add-428f-8b75-90a396fa584f": "feature-packs",
    "b4832bd8-e735-4761-8daf-37f882276dab": "tools",
    "e0789628-ce08-4437-be74-2495b842f43b": "definitions",
    "ebfc1fc5-71a4-4f7b-9aca-3b9a503104a0": "drivers",
    "3689bdc8-b205-4af4-8d4a-a63924c5e9d5": "upgrades",
}
_CLASSIFICATION_NAMES = {
    "security updates": "security",
    "critical updates": "critical",
    "update rollups": "rollups",
    "service packs": "service-packs",
    "updates": "updates",
    "feature packs": "feature-packs",
    "tools": "tools",
    "definition updates": "definitions",
    "drivers": "drivers",
    "upgrades": "upgrades",
}
_NEVER = {
    "definitions": "Defender definitions come daily by themselves",
    "drivers": "drivers are never installed by this system",
    "upgrades": "an upgrade of Windows is never installed by this system",
}
_EXCLUSIVE = 2
_SQL_SERVER = re.compile(r"\bSQL Server\b", re.IGNORECASE)
# Native Client and drivers name SQL Server too, but are no instances; they still come as packages only.
_UPGRADE = re.compile(r"\bFeature update to\b|^Windows Server \d{4}\b(?!.*\bKB)|\bUpgrade to\b", re.IGNORECASE)
_LONGEST_TITLE = 300


class Category(Answer):
    """A category of an update; ``id`` is its CategoryID."""

    name: str = ""
    id: str = ""


class FoundUpdate(Answer):
    """An update as a scan found it. Its identity is ``id`` (UpdateID) and ``revision`` together."""

    id: str
    revision: int = 1
    title: str = ""
    kb: tuple[str, ...] = ()
    severity: str | None = None
    categories: tuple[Category, ...] = ()
    type: str | int | None = None
    hidden: bool = False
    browse_only: bool = False
    can_request_user_input: bool = False
    impact: int | None = None
    """InstallationBehavior.Impact: 2 must be installed apart from all others."""
    size: int | None = None
    """Bytes to download, at most."""
    eula_accepted: bool = True
    reboot_required: bool = False
    """It has gone in, and is not complete."""
    is_file: bool = False
    """A .msu or .cab in a folder: ``id`` is its name, and its revision 0."""
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _lacking(cls, value: Any) -> Any:
        """Take null for a property that the update's object lacks, which happens."""
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value

    @field_validator("kb", mode="before")
    @classmethod
    def _kb_names(cls, value: Any) -> Any:
        return tuple(_kb(kb) for kb in ([value] if isinstance(value, str | int) else value))

    @property
    def classifications(self) -> frozenset[str]:
        """Its classifications in the estate's words; empty where none of its categories is one."""
        words = {
            _CLASSIFICATION_IDS.get(c.id.casefold().strip("{}")) or _CLASSIFICATION_NAMES.get(c.name.casefold())
            for c in self.categories
        }
        if is_servicing_stack(self.title):
            words.add("servicing-stacks")
        return frozenset(word for word in words if word)

    @property
    def alone(self) -> bool:
        """Whether it is installed in a batch of its own: servicing stacks, and what wants exclusive handling."""
        return self.impact == _EXCLUSIVE or "servicing-stacks" in self.classifications

    @property
    def identity(self) -> tuple[str, int]:
        """UpdateID, folded, and revision."""
        return self.id.casefold(), self.revision

    def __str__(self) -> str:
        kb = next((kb for kb in self.kb if kb not in self.title), None)
        title = self.title or self.id
        return f"{title} ({kb})" if kb else title


def _kb(value: Any) -> str:
    """A KB by its usual name; what a vendor wrote instead stays as it is, and no list of KBs will name it."""
    try:
        return kb_name(value)
    except ValueError:
        return str(value)


@dataclass(frozen=True)
class Admission:
    """An update, whether it is wanted, and why."""

    update: FoundUpdate
    admitted: bool
    reason: str


def admit(updates: Iterable[FoundUpdate], policy: Updates) -> tuple[Admission, ...]:
    """What the policy says of each update, in the order found; an update found twice is judged once."""
    seen: set[tuple[str, int]] = set()
    judged: list[Admission] = []
    for update in updates:
        if update.identity not in seen:
            seen.add(update.identity)
            judged.append(_judge(update, policy))
    return tuple(judged)


def batches(updates: Iterable[FoundUpdate]) -> tuple[tuple[FoundUpdate, ...], ...]:
    """What is installed together, in order: servicing stacks first, each alone; then exclusive ones; then the rest."""
    updates = tuple(updates)
    stacks = [u for u in updates if "servicing-stacks" in u.classifications]
    exclusive = [u for u in updates if u.alone and u not in stacks]
    rest = tuple(u for u in updates if not u.alone)
    return (*((u,) for u in (*stacks, *exclusive)), *((rest,) if rest else ()))


def _judge(update: FoundUpdate, policy: Updates) -> Admission:
    """The first rule that applies decides; what no estate can admit comes first, then what is named, then the rest."""
    its = ", ".join(sorted(update.classifications)) or "none that we know"
    rejected = next((kb for kb in update.kb if kb in policy.kb_reject), None)
    accepted = next((kb for kb in update.kb if kb in policy.kb_accept), None)
    unlocked = next((kb for kb in update.kb if kb in policy.unlocked), None)
    bad_title = _holding(update.title, policy.title_reject)
    good_title = _holding(update.title, policy.title_accept)
    wanted = ", ".join(sorted(update.classifications & set(policy.classifications)))
    never, too_large, too_mild = _never(update), _too_large(update, policy), _too_mild(update, policy)
    terms = "its license terms are not accepted; read them, then say updates.accept_eulas: true"
    rules: tuple[tuple[bool, bool, str], ...] = (
        (never is not None, False, str(never)),
        (rejected is not None, False, f"{rejected} is under updates.kb_reject"),
        (bad_title is not None, False, f"its title holds '{bad_title}', which is under updates.title_reject"),
        (not update.eula_accepted and not policy.accept_eulas, False, terms),
        (accepted is not None, True, f"{accepted} is under updates.kb_accept"),
        (unlocked is not None, True, f"{unlocked} is under updates.unlocked"),
        (update.hidden, False, "somebody has hidden it on this host"),
        (too_large is not None, False, str(too_large)),
        (too_mild is not None, False, str(too_mild)),
        (update.is_file and not update.kb, False, "its name holds no KB, by which it could be looked for afterwards"),
        (update.is_file, True, "lies in the folder of updates.source"),
        (update.browse_only, False, "optional (BrowseOnly); admit it by updates.kb_accept"),
        (good_title is not None, True, f"its title holds '{good_title}', which is under updates.title_accept"),
        (bool(wanted), True, f"classification {wanted}"),
        (True, False, f"its classification ({its}) is not under updates.classifications"),
    )
    admitted, reason = next((admitted, reason) for applies, admitted, reason in rules if applies)
    return Admission(update, admitted, reason)


def _holding(title: str, patterns: Iterable[str]) -> str | None:
    """The first of ``patterns`` that the title holds, or None."""
    text = title[:_LONGEST_TITLE]
    return next((pattern for pattern in patterns if re.search(pattern, text, re.IGNORECASE)), None)


def _too_large(update: FoundUpdate, policy: Updates) -> str | None:
    if policy.maximum_size is None or update.size is None or update.size <= policy.maximum_size:
        return None
    most = size_text(policy.maximum_size)
    return f"its {update.size / (1 << 20):,.0f} MB are more than updates.maximum_size: {most}; admit it by updates.kb_accept"


def _too_mild(update: FoundUpdate, policy: Updates) -> str | None:
    """Why its rating keeps it out. Microsoft rates security updates only: most others have none."""
    its = (update.severity or "").casefold()
    if policy.minimum_severity is None or its not in SEVERITIES:
        return None
    if SEVERITIES.index(its) <= SEVERITIES.index(policy.minimum_severity):
        return None
    return f"its severity ({its}) is below updates.minimum_severity: {policy.minimum_severity}"


def _never(update: FoundUpdate) -> str | None:
    """Why no estate can admit it, or None."""
    names = [update.title, *(category.name for category in update.categories)]
    by_class = next((reason for word, reason in _NEVER.items() if word in update.classifications), None)
    sql_server = "SQL Server is never patched through Windows Update; declare it under updates.packages"
    interactive = "it may ask a person something during the install, and nobody is there"
    rules: tuple[tuple[bool, str], ...] = (
        (any(_SQL_SERVER.search(name) for name in names), sql_server),
        (DEFENDER_DEFINITIONS in update.kb, _NEVER["definitions"]),
        (by_class is not None, str(by_class)),
        (str(update.type).casefold() in {"2", "driver"}, _NEVER["drivers"]),
        (_UPGRADE.search(update.title) is not None, _NEVER["upgrades"]),
        (is_preview(update.title), "a preview is never installed by this system"),
        (update.can_request_user_input, interactive),
    )
    return next((reason for applies, reason in rules if applies), None)
