"""Which patch goes onto which instance: by name, with the fix, before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest

from model.sql.applicability import Fit, fit, patches_of_host, shared_with
from model.sql.facts import SetupFacts
from model.wanted import MssqlPatch


def patch(build: str, name: str = "the package", **more: Any) -> MssqlPatch:
    given = {"kind": "mssql-patch", "name": name, "on": "sql01", "source": r"C:\p.exe", "sha256": "ab" * 32}
    return MssqlPatch.model_validate({**given, "build": build, **more})


def setup(**builds: str) -> SetupFacts:
    """The registry of a host, by instance."""
    rows = [{"name": name, "kind": "SQL", "id": f"MSSQL15.{name}", "build": build} for name, build in builds.items()]
    return SetupFacts.model_validate({"instances": rows})


@pytest.mark.parametrize(
    ("have", "wanted", "state"),
    [
        ("15.0.2000.5", "15.0.4430.1", "applies"),  # 2017 and newer: the newest CU goes right onto RTM
        ("15.0.2000.5", "15.0.2155.2", "applies"),  # and so does a GDR
        ("15.0.4355.3", "15.0.4430.1", "applies"),
        ("15.0.2101.7", "15.0.2155.2", "applies"),
        ("13.0.5888.11", "13.0.6300.2", "applies"),  # a service pack, whatever the branch
        ("13.0.5101.9", "13.0.6300.2", "applies"),
        ("13.0.6300.2", "13.0.6485.1", "applies"),
        ("15.0.4430.1", "15.0.4430.1", "not-needed"),
        ("15.0.4455.1", "15.0.4430.1", "not-needed"),
        ("13.0.6485.1", "13.0.5888.11", "not-needed"),  # of a service pack that is behind
        ("14.0.3460.9", "15.0.4430.1", "refused"),
        ("15.0.2101.7", "15.0.4430.1", "refused"),  # leaves the GDR branch
        ("15.0.4123.1", "15.0.2155.2", "refused"),  # a lower number, and yet newer than what it has
        ("13.0.5888.11", "13.0.6485.1", "refused"),  # needs SP3
        ("12.0.5687.1", "12.0.6329.1", "refused"),
    ],
)
def test_whether_a_patch_goes_onto_a_build(have: str, wanted: str, state: str) -> None:
    """By version, line and service pack; builds are four numbers."""
    assert fit(patch(wanted), "MSSQLSERVER", have).state == state


def test_a_patch_of_another_version_names_both() -> None:
    """A 2019 CU on a 2017 instance."""
    assert fit(patch("15.0.4430.1", "CU32"), "BILLING", "14.0.3456.2").why == (
        "CU32 (15.0.4430.1) is for SQL Server 2019, and BILLING is SQL Server 2017 (14.0.3456.2). Name a package for "
        "SQL Server 2017, or take this one out of updates.packages."
    )


def test_a_build_above_is_told_as_such() -> None:
    """Nobody shall believe that the package has been installed."""
    assert (
        fit(patch("15.0.4430.1"), "MSSQLSERVER", "15.0.4455.1").why
        == "MSSQLSERVER is at 15.0.4455.1, above 15.0.4430.1"
    )


def test_a_cu_leaves_the_gdr_branch_only_on_the_estates_word() -> None:
    """The sentence names what would be lost, and the word."""
    refused = fit(patch("15.0.4430.1"), "MSSQLSERVER", "15.0.2101.7")
    assert "Say branch: leave-gdr for it" in refused.why
    assert fit(patch("15.0.4430.1", branch="leave-gdr"), "MSSQLSERVER", "15.0.2101.7").state == "applies"
    assert fit(patch("15.0.4430.1", branch="cu"), "MSSQLSERVER", "15.0.2101.7").state == "refused"


def test_a_gdr_on_a_cu_system_is_no_matter_of_numbers() -> None:
    """4123 is the higher number, and lacks the security fixes of GDR 2155."""
    assert "security update for the CU branch" in fit(patch("15.0.2155.2"), "MSSQLSERVER", "15.0.4123.1").why


def test_a_service_pack_that_is_missing_is_named() -> None:
    """Right before it in the list it counts as installed."""
    fix, pack = patch("13.0.6485.1", "GDR"), patch("13.0.6300.2", "SP3")
    registry = setup(MSSQLSERVER="13.0.5888.11")
    alone = patches_of_host([fix], "MSSQLSERVER", "13.0.5888.11", "Standard Edition", registry)
    assert alone["GDR"].why == (
        "GDR (13.0.6485.1) needs SQL Server 2016 SP3 first, and MSSQLSERVER is at SQL Server 2016 SP2, CU branch "
        "(13.0.5888.11). Put the package of SP3 before it under updates.packages."
    )
    both = patches_of_host([pack, fix], "MSSQLSERVER", "13.0.5888.11", "Standard Edition", registry)
    assert [each.state for each in both.values()] == ["applies", "applies"]


def test_what_the_table_does_not_know_needs_the_estates_word() -> None:
    """A version to come is not guessed; the estate's branch and min_build speak for it."""
    unknown = fit(patch("18.0.4100.1"), "MSSQLSERVER", "18.0.1000.1")
    assert unknown.state == "refused"
    assert "say branch: cu, branch: gdr or branch: leave-gdr" in unknown.why
    assert fit(patch("18.0.4100.1", branch="cu"), "MSSQLSERVER", "18.0.1000.1").state == "applies"
    needs = patch("18.0.4100.1", branch="cu", min_build="18.0.2000.1")
    assert "needs build 18.0.2000.1 first" in fit(needs, "MSSQLSERVER", "18.0.1000.1").why
    # Where the patch alone is unknown, its line comes from the estate and that of the instance from the table.
    newer = patch("15.0.5100.1", branch="cu")
    assert fit(newer, "MSSQLSERVER", "15.0.2101.7").state == "refused"
    assert fit(newer, "MSSQLSERVER", "15.0.4430.1").state == "applies"


def test_an_instance_that_the_registry_does_not_know_is_refused() -> None:
    """With those that are there: setup would patch nothing and answer that it went well."""
    (found,) = patches_of_host(
        [patch("15.0.4430.1")], "BILLNG", "15.0.4355.3", "Standard", setup(BILLING="15.0.4355.3")
    ).values()
    assert found.why.startswith("the registry knows no instance BILLNG (it has BILLING")
    (none,) = patches_of_host([patch("15.0.4430.1")], "X", "15.0.4355.3", "Standard", setup()).values()
    assert "it has none" in none.why


@pytest.mark.parametrize("edition", ["Enterprise Evaluation Edition (64-bit)", "Azure SQL Edge Developer (64-bit)"])
def test_editions_that_no_package_services(edition: str) -> None:
    """Evaluation does not come up again once it is over; Azure's are not patched so."""
    registry = setup(MSSQLSERVER="15.0.4355.3")
    (found,) = patches_of_host([patch("15.0.4430.1")], "MSSQLSERVER", "15.0.4355.3", edition, registry).values()
    assert found.state == "refused"
    (express,) = patches_of_host(
        [patch("15.0.4430.1")], "MSSQLSERVER", "15.0.4355.3", "Express Edition (64-bit)", registry
    ).values()
    assert express == Fit("applies")


def test_other_instances_of_the_host_are_named() -> None:
    """Those of the same version share components; others share nothing that is touched."""
    registry = setup(MSSQLSERVER="15.0.4355.3", REPORTS="15.0.4123.1", OLD="13.0.6300.2")
    cu = patch("15.0.4430.1")
    shared = shared_with(cu, "MSSQLSERVER", registry)
    assert shared is not None
    assert "shares with REPORTS (15.0.4123.1)" in shared
    assert "OLD" not in shared
    everyone = shared_with(patch("15.0.4430.1", all_instances=True), "MSSQLSERVER", registry)
    assert (
        everyone == "is installed on REPORTS (15.0.4123.1) too (all_instances), whose databases are not backed up here"
    )
    assert shared_with(cu, "MSSQLSERVER", setup(MSSQLSERVER="15.0.4355.3", OLD="13.0.6300.2")) is None


def test_all_instances_are_judged_where_all_are_patched() -> None:
    """One on the GDR branch keeps the package from the host; one that lacks it makes it needed."""
    everyone = patch("15.0.4430.1", all_instances=True)
    gdr = setup(MSSQLSERVER="15.0.4355.3", REPORTS="15.0.2101.7")
    (refused,) = patches_of_host([everyone], "MSSQLSERVER", "15.0.4355.3", "Standard", gdr).values()
    assert refused.state == "refused"
    assert refused.why.startswith("with all_instances: the package (15.0.4430.1) is a CU, and REPORTS")
    behind = setup(MSSQLSERVER="15.0.4430.1", REPORTS="15.0.4123.1")
    (needed,) = patches_of_host([everyone], "MSSQLSERVER", "15.0.4430.1", "Standard", behind).values()
    assert needed.state == "applies"


def test_a_second_instance_on_a_service_pack_is_not_above() -> None:
    """13.3.6300.2 is how setup writes 13.0.6300.2: it lacks the patch that the first instance has."""
    everyone = patch("13.0.6441.1", all_instances=True)
    registry = setup(MSSQLSERVER="13.3.6441.1", REPORTS="13.3.6300.2")
    (needed,) = patches_of_host([everyone], "MSSQLSERVER", "13.0.6441.1", "Standard", registry).values()
    assert needed.state == "applies"
    assert "REPORTS (13.0.6300.2)" in str(shared_with(everyone, "MSSQLSERVER", registry))


def test_half_a_patch_does_not_count_as_there() -> None:
    """The engine runs the new build, setup has left the old one: nobody shall believe that nothing is to be done."""
    registry = setup(MSSQLSERVER="15.0.4355.3")
    given = ([patch("15.0.4430.1")], "MSSQLSERVER", "15.0.4430.1", "Standard", registry)
    (half,) = patches_of_host(*given).values()
    assert half.state == "refused"
    assert half.why.startswith(
        "MSSQLSERVER is half-patched: setup has left build 15.0.4355.3, the engine runs 15.0.4430.1"
    )
    (waits,) = patches_of_host(*given, restart_pending=True).values()
    assert waits.state == "not-needed"
    (tried,) = patches_of_host([patch("15.0.4440.1")], *given[1:]).values()
    assert tried.state == "applies"
