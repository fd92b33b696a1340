"""Does a SQL Server patch go onto an instance? Told before anything is touched, by builds and by what the estate says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from model.hints import did_you_mean
from model.sql.branches import Level, level_of, newest_service_pack, product
from model.sql.builds import Build, at_least
from model.sql.facts import RegistryInstance, SetupFacts
from model.wanted import MssqlPatch

_LINES = {"cu": "CU", "leave-gdr": "CU", "gdr": "GDR"}


@dataclass(frozen=True)
class Fit:
    """Whether a patch goes onto an instance, and in a sentence why not; ``not-needed`` is there already, or above."""

    state: Literal["applies", "not-needed", "refused"]
    why: str = ""


_APPLIES = Fit("applies")


def fit(patch: MssqlPatch, instance: str, build: str) -> Fit:
    """Judge ``patch`` for an instance that runs ``build``."""
    have, wanted = Build.parse(build), Build.parse(patch.build)
    if have.major != wanted.major:
        return Fit(
            "refused",
            f"{patch.name} ({patch.build}) is for {product(patch.build)}, and {instance} is {product(build)} ({build}). "
            f"Name a package for {product(build)}, or take this one out of updates.packages.",
        )
    if have == wanted:
        return Fit("not-needed", f"{instance} is at {build} already")
    level, target = level_of(build), level_of(patch.build)
    other_line = _other_line(patch, instance, build, level, target)
    if other_line is not None:
        return other_line
    if have > wanted:
        return Fit("not-needed", f"{instance} is at {build}, above {patch.build}")
    return _prerequisite(patch, instance, build, level, target) or _APPLIES


def _line(patch: MssqlPatch, target: Level | None) -> str | None:
    """GDR, CU or SP: as the build tells, else as the estate says; None where neither does."""
    if target is not None:
        return {"gdr": "GDR", "cu": "CU", "base": "SP" if target.sp else "RTM"}[target.branch]
    return _LINES.get(patch.branch or "")


def _other_line(patch: MssqlPatch, instance: str, build: str, level: Level | None, target: Level | None) -> Fit | None:
    """GDR upon CU, or CU upon GDR, on one baseline: a higher number says nothing there."""
    line = _line(patch, target)
    if line is None or level is None:
        unknown = build if level is None else patch.build
        if patch.branch is not None:
            return None
        return Fit(
            "refused",
            f"nobody here knows which branch {unknown} belongs to: it is newer than the table of builds. Look it up in "
            f"Microsoft's build list, and say branch: cu, branch: gdr or branch: leave-gdr for {patch.name}.",
        )
    if target is not None and (target.year, target.sp) != (level.year, level.sp):
        return None
    if line == "GDR" and level.branch == "cu":
        return Fit(
            "refused",
            f"{patch.name} ({patch.build}) is of the GDR branch, and {instance} is of the CU branch ({build}), which it "
            f"does not go onto. Name the security update for the CU branch that Microsoft published on the same day.",
        )
    if line == "CU" and level.branch == "gdr" and patch.branch != "leave-gdr":
        return Fit(
            "refused",
            f"{patch.name} ({patch.build}) is a CU, and {instance} has had security fixes alone until now (GDR branch, "
            f"{build}). A CU leaves that branch, and only uninstalling leads back. Say branch: leave-gdr for it, or name "
            f"the GDR package.",
        )
    return None


def _prerequisite(
    patch: MssqlPatch, instance: str, build: str, level: Level | None, target: Level | None
) -> Fit | None:
    """The service pack that must be there first; versions from 2017 on have none."""
    if patch.min_build is not None and not at_least(build, patch.min_build):
        return Fit(
            "refused",
            f"{patch.name} needs build {patch.min_build} first, and {instance} is at {build}. Put the package that "
            f"brings it before this one under updates.packages.",
        )
    if level is None or target is None or target.is_service_pack or not newest_service_pack(build):
        return None
    if target.sp > level.sp:
        return Fit(
            "refused",
            f"{patch.name} ({patch.build}) needs {product(build)} {target.baseline} first, and {instance} is at {level} "
            f"({build}). Put the package of {target.baseline} before it under updates.packages.",
        )
    return None


# An instance on its host ---------------------------------------------------------------------------------------------


def patches_of_host(
    patches: Sequence[MssqlPatch],
    instance: str,
    build: str,
    edition: str,
    setup: SetupFacts,
    *,
    restart_pending: bool = False,
) -> dict[str, Fit]:
    """How each of a host's patches fits, in their order: what comes first counts as installed for the next.

    ``build`` is what the engine runs; ``restart_pending`` says that it may run another one after it.
    """
    found: dict[str, Fit] = {}
    builds = {each.name: each.build for each in _engines(setup) if each.build}
    now = build
    for patch in patches:
        verdict = _unserviceable(instance, edition) or missing(instance, setup) or fit(patch, instance, now)
        if verdict.state == "not-needed" and now == build and not restart_pending:
            verdict = _half_patched(instance, build, setup) or verdict
        others = [name for name in builds if patch.all_instances and name.casefold() != instance.casefold()]
        for other in others:
            if verdict.state == "refused" or Build.parse(builds[other]).major != Build.parse(patch.build).major:
                continue
            theirs = fit(patch, other, builds[other])
            if theirs.state == "refused":
                verdict = Fit("refused", f"with all_instances: {theirs.why}")
            elif theirs.state == "applies":
                builds[other] = patch.build
                verdict = _APPLIES
        if verdict.state == "applies" and not at_least(now, patch.build):
            now = patch.build
        found[patch.name] = verdict
    return found


def shared_with(patch: MssqlPatch, instance: str, setup: SetupFacts) -> str | None:
    """What else on the host a patch touches, in a sentence; None where it is alone there.

    Setup also updates the components that the instances of one version share: Browser, VSS writer, client tools,
    Integration Services.
    """
    major = Build.parse(patch.build).major
    others = [
        f"{each.name} ({each.build})"
        for each in _engines(setup)
        if each.build and Build.parse(each.build).major == major and each.name.casefold() != instance.casefold()
    ]
    if not others:
        return None
    named = ", ".join(others)
    if patch.all_instances:
        return f"is installed on {named} too (all_instances), whose databases are not backed up here"
    return f"also updates what {instance} shares with {named}: Browser, VSS writer, client tools; that instance stays as it is"


def _engines(setup: SetupFacts) -> Iterator[RegistryInstance]:
    return (each for each in setup.instances if each.kind == "SQL")


def missing(instance: str, setup: SetupFacts) -> Fit | None:
    """Refused where the registry of the host knows no such instance; None where it does."""
    if setup.engine(instance) is not None:
        return None
    names = [each.name for each in _engines(setup)]
    known = f"it has {', '.join(names)}{did_you_mean(instance, names)}" if names else "it has none"
    return Fit(
        "refused",
        f"the registry knows no instance {instance} ({known}), so setup would patch nothing. Correct sql: in the "
        f"estate file.",
    )


def _half_patched(instance: str, build: str, setup: SetupFacts) -> Fit | None:
    """Refused where setup has left another build than the engine runs: that a patch is there is only half true."""
    engine = setup.engine(instance)
    if engine is None or engine.build is None or Build.parse(engine.build) == Build.parse(build):
        return None
    return Fit(
        "refused",
        f"{instance} is half-patched: setup has left build {engine.build}, the engine runs {build}, and no restart is "
        f"pending. Run setup of that patch again by hand, and see its Summary.txt.",
    )


def _unserviceable(instance: str, edition: str) -> Fit | None:
    """Editions that no package services: Azure's own; and Evaluation, which does not start any more once it is over."""
    if "azure" in edition.casefold():
        return Fit(
            "refused", f"{instance} is {edition}, which is not patched by packages. Take it out of the estate file."
        )
    if "evaluation" in edition.casefold():
        return Fit(
            "refused",
            f"{instance} is {edition}: after its 180 days it does not start again after a restart (17051), and setup "
            f"does not patch it. Give it a product key first (setup.exe /Action=EditionUpgrade).",
        )
    return None
