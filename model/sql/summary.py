"""Summary.txt of SQL Server setup: what it says of a run, of each instance, and of each feature. Pure text in, values out.

Setup writes its field names in English whatever the system's language. Exit codes are decimal, negative or positive;
``Final result`` of a failure need not hold the word. In a run over several instances each has an overall summary of its
own. The feature table is what setup found before: its versions are the old ones, and are not read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from model.hresults import sql_setup_meaning, unsigned
from model.sql.builds import engine_build
from model.sql.facts import SummaryText

_HEADING = re.compile(r"(?:Instance (?P<instance>\S+) o|O)verall summary:", re.IGNORECASE)
_FIELD = re.compile(r"(?P<name>[A-Z][A-Za-z /()]*?):\s*(?P<value>.*)")
_DECORATION = re.compile(r"^[\s*`>-]+|[\s*`]+$")
"""What people's pastes put around a line; setup's own lines are indented by two blanks."""
_DETAILS = "Detailed results"
_RULES = "Rules with failures"
_ADVICE = re.compile(r" To determine the reason for failure, review the log files\.?")
"""Which is what is being done here."""
_TOP = 3
"""Findings that fit on one screen."""


@dataclass(frozen=True)
class Section:
    """An overall summary: of the run, or of one instance."""

    result: str
    code: int | None
    message: str = ""
    action: str = ""

    @property
    def passed(self) -> bool:
        """Whether setup says that it went well; by the code, as the words of a failure differ."""
        return self.code is not None and sql_setup_meaning(self.code).do in {"done", "done-reboot"}


@dataclass(frozen=True)
class Feature:
    """A feature's own result, from the detailed results."""

    name: str
    status: str
    reason: str = ""
    log: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is not as it should be."""
        return not self.status.casefold().startswith("passed")


@dataclass(frozen=True)
class Summary:
    """A Summary.txt; ``instances`` by name.

    ``patch_level`` (in the engine's numbers) and ``kb`` are of the package, not of what is installed.
    """

    overall: Section
    instances: dict[str, Section] = field(default_factory=dict)
    features: tuple[Feature, ...] = ()
    rules: tuple[str, ...] = ()
    """Rules that failed or warned, where setup names them."""
    patch_level: str = ""
    kb: str = ""

    @property
    def is_patch(self) -> bool:
        """Whether it is the summary of a patch: setup's own look around (RunDiscovery) writes one too."""
        return self.overall.action.casefold() in {"patch", "removepatch"}

    def of(self, instance: str) -> Section:
        """What it says of an instance, in any case; of the run where it has no section for it."""
        own = (section for name, section in self.instances.items() if name.casefold() == instance.casefold())
        return next(own, self.overall)

    def explain(self, instance: str) -> str:
        """One line for a person: result, message, the features and rules that failed. Empty where all went well."""
        section = self.of(instance)
        failed = [feature for feature in self.features if feature.failed]
        if section.passed and not failed:
            return ""
        parts = [_ADVICE.sub("", section.result).rstrip(".")]
        message = _ADVICE.sub("", section.message or self.overall.message).rstrip(".")
        parts += [message] if message != parts[0] else []
        parts += [_feature(feature) for feature in failed[:_TOP]]
        parts += [f"rule {rule}" for rule in self.rules[:_TOP]]
        return "; ".join(part for part in parts if part)


def _feature(feature: Feature) -> str:
    return f"{feature.name}: {feature.status.rstrip('.')}" + (
        f" ({feature.reason.rstrip('.')})" if feature.reason else ""
    )


def parse_summary(text: str) -> Summary | None:
    """Read a Summary.txt; None where the text holds no overall summary."""
    sections: dict[str | None, dict[str, str]] = {}
    features: list[dict[str, str]] = []
    rules: list[str] = []
    package: dict[str, str] = {}
    where: dict[str, str] | None = None
    part = ""
    for line in _lines(text):
        heading = _HEADING.fullmatch(line)
        if heading:
            where, part = sections.setdefault(heading["instance"], {}), "summary"
        elif line.startswith((_DETAILS, "Package properties:", _RULES)):
            where, part = None, line.split(":")[0]
        elif line.endswith("Properties:") or line.startswith(
            ("Product features", "Setup completed with", "User Input")
        ):
            where, part = None, ""
        elif part == _DETAILS:
            _read_feature(line, features)
        elif part.startswith(_RULES) and not line.casefold().startswith(("rules report", "there are no")):
            # Headings within it, and the path of the report.
            rules += [line] if ":\\" not in line and not line.endswith(":") else []
        elif (told := _FIELD.fullmatch(line)) is not None:
            target = package if part == "Package properties" else where
            if target is not None:
                target.setdefault(told["name"], told["value"].strip())
    if None not in sections or "Final result" not in sections[None]:
        return None
    return Summary(
        overall=_section(sections[None]),
        instances={name: _section(told) for name, told in sections.items() if name is not None},
        features=tuple(
            Feature(f["Feature"], f.get("Status", ""), f.get("Reason for failure", ""), f.get("Component log file", ""))
            for f in features
        ),
        rules=tuple(rules),
        patch_level=engine_build(package.get("PatchLevel", "")),
        kb=package.get("KBArticle", ""),
    )


def _lines(text: str) -> Iterator[str]:
    for line in text.lstrip("\ufeff").splitlines():
        bare = _DECORATION.sub("", line)
        if bare:
            yield bare


def _read_feature(line: str, features: list[dict[str, str]]) -> None:
    told = _FIELD.fullmatch(line)
    if told is None:
        return
    if told["name"] == "Feature":
        features.append({})
    if features:
        features[-1].setdefault(told["name"], told["value"].strip())


def _section(told: dict[str, str]) -> Section:
    code = told.get("Exit code (Decimal)", "")
    return Section(
        result=told.get("Final result", ""),
        code=int(code) if re.fullmatch(r"-?\d+", code, re.ASCII) else None,
        message=told.get("Exit message", ""),
        action=told.get("Requested action", ""),
    )


def newest_patch(texts: Iterable[SummaryText], patch_level: str | None = None) -> Summary | None:
    """The newest summary of a patch among those that setup has written; None where there is none.

    ``patch_level`` leaves out those of other packages; one that does not say its package's build is kept.
    """
    newest_first = sorted(texts, key=lambda each: each.written, reverse=True)
    parsed = (parse_summary(each.text) for each in newest_first)
    return next(
        (
            each
            for each in parsed
            if each and each.is_patch and each.patch_level in {patch_level or each.patch_level, ""}
        ),
        None,
    )


def same_code(one: int | str, other: int | str) -> bool:
    """Whether two codes are one: -2068643838 arrives as 2226323458 over WinRM."""
    return unsigned(one) == unsigned(other)
