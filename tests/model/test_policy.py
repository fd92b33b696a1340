"""Which updates go in: what the estate admits, and never what belongs to SQL Server, upgrades or previews."""

from __future__ import annotations

from typing import Any

import pytest

from model.estate import Updates
from model.policy import FoundUpdate, admit, batches

SECURITY = {"name": "Sicherheitsupdates", "id": "0FA1201D-4330-4FA8-8AE9-B877473B6441"}  # names are localized
CUMULATIVE = "2026-02 Cumulative Update for Windows Server 2019 for x64-based Systems (KB5077181)"


def update(title: str = CUMULATIVE, **told: Any) -> FoundUpdate:
    return FoundUpdate.model_validate(
        {"id": "u-1", "revision": 200, "title": title, "kb": ["5077181"], "categories": [SECURITY], **told}
    )


def judged(found: FoundUpdate, **policy: Any) -> tuple[bool, str]:
    (admission,) = admit([found], Updates(**policy))
    return admission.admitted, admission.reason


def test_a_classification_that_the_estate_wants_is_admitted() -> None:
    """By CategoryID, so that a German server's updates are known as well; by name where there is no id."""
    assert judged(update()) == (True, "classification security")
    assert judged(update(categories=[{"name": "Critical Updates"}])) == (True, "classification critical")
    admitted, reason = judged(update(categories=[{"name": "Update Rollups"}]))
    assert not admitted
    assert reason == "its classification (rollups) is not under updates.classifications"
    assert judged(update(categories=[{"name": "Update Rollups"}]), classifications=["rollups"])[0]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (update("Security Update for SQL Server 2019 RTM CU (KB5054833)"), "SQL Server is never patched"),
        (
            update("KB5054833", categories=[{"name": "Microsoft SQL Server 2019"}, SECURITY]),
            "SQL Server is never patched",
        ),
        (update("Windows Server 2025", kb=["5044284"]), "an upgrade of Windows"),
        (update("Feature update to Windows Server 2025"), "an upgrade of Windows"),
        (
            update("x", categories=[{"id": "3689bdc8-b205-4af4-8d4a-a63924c5e9d5", "name": "Upgrades"}]),
            "an upgrade of Windows",
        ),
        (update("2026-02 Cumulative Update Preview for Windows Server 2019 (KB1234567)"), "a preview"),
        (update("2026-02 Kumulative Updatevorschau für Windows Server 2019 (KB1234567)"), "a preview"),
        (update("Definitions", kb=["KB2267602"]), "Defender definitions"),
        (update("x", categories=[{"name": "Definition Updates"}]), "Defender definitions"),
        (update("Intel - net", type=2), "drivers are never"),
        (update("Intel - net", type="Driver"), "drivers are never"),
        (update(can_request_user_input=True), "may ask a person"),
    ],
)
def test_what_no_estate_can_admit(found: FoundUpdate, why: str) -> None:
    """Refused with its reason, also where its KB is accepted by name."""
    for policy in ({}, {"kb_accept": list(found.kb)}):
        admitted, reason = judged(found, **policy)
        assert not admitted
        assert why in reason


def test_kbs_named_by_the_estate_decide_before_classes() -> None:
    assert judged(update(), kb_reject=["KB5077181"]) == (False, "KB5077181 is under updates.kb_reject")
    assert judged(update(categories=[]), kb_accept=[5077181]) == (True, "KB5077181 is under updates.kb_accept")
    assert judged(update(browse_only=True), kb_accept=["5077181"])[0]


def test_titles_are_accepted_and_rejected_by_pattern() -> None:
    """Case folded; what is rejected stays out whatever accepts it."""
    admitted, reason = judged(update(categories=[]), title_accept=["cumulative update"])
    assert (admitted, reason) == (True, "its title holds 'cumulative update', which is under updates.title_accept")
    admitted, reason = judged(update(), title_reject=[r"Server 20\d\d"], kb_accept=["KB5077181"])
    assert (admitted, reason) == (False, r"its title holds 'Server 20\d\d', which is under updates.title_reject")
    assert judged(update("x" * 400 + "Rollup", categories=[]), title_accept=["Rollup"])[0] is False


def test_a_rating_below_the_minimum_stays_out_and_no_rating_is_none() -> None:
    """Most updates are not rated: servicing stacks, rollups, critical updates."""
    assert judged(update(severity="Moderate"), minimum_severity="important") == (
        False,
        "its severity (moderate) is below updates.minimum_severity: important",
    )
    assert judged(update(severity="Critical"), minimum_severity="important")[0]
    assert judged(update(severity=""), minimum_severity="critical")[0]
    assert judged(update(severity="Low"), minimum_severity="critical", kb_accept=["KB5077181"])[0]


def test_what_is_too_large_stays_out_unless_it_is_named() -> None:
    large = update(size=3 << 30)
    admitted, reason = judged(large, maximum_size="2GB")
    assert not admitted
    assert reason == "its 3,072 MB are more than updates.maximum_size: 2GB; admit it by updates.kb_accept"
    assert judged(large, maximum_size="3GB")[0]
    assert judged(large, maximum_size="2GB", kb_accept=["KB5077181"])[0]


def test_license_terms_are_accepted_only_where_the_estate_says_so() -> None:
    """In somebody's name: not even a KB that is accepted accepts them by the way."""
    terms = update(eula_accepted=False)
    assert "license terms are not accepted" in judged(terms, kb_accept=["KB5077181"])[1]
    assert judged(terms, accept_eulas=True)[0]


def test_what_a_servicing_stack_unlocks_is_admitted_by_its_reviewed_kb() -> None:
    assert judged(update(categories=[]), unlocked=["KB5077181"]) == (True, "KB5077181 is under updates.unlocked")
    assert judged(update("KB5054833 for SQL Server", kb=["5054833"]), unlocked=["KB5054833"])[0] is False


def test_hidden_and_optional_updates_stay_out() -> None:
    assert judged(update(hidden=True)) == (False, "somebody has hidden it on this host")
    assert judged(update(browse_only=True))[0] is False


def test_an_optional_update_goes_in_by_its_kb_alone() -> None:
    """A preview is one, in whatever language its title is: no pattern takes it in by the way."""
    optional = update("2026-02 Atnaujinimo peržiūra (KB5077181)", browse_only=True)
    refused = (False, "optional (BrowseOnly); admit it by updates.kb_accept")
    assert judged(optional, title_accept=["KB5077181"]) == refused
    assert judged(optional, kb_accept=["KB5077181"])[0]


def test_updates_that_lack_properties_are_judged_all_the_same() -> None:
    """Objects lacking properties occur: no KB, no categories, null lists."""
    lacking = dict.fromkeys(("title", "kb", "categories", "hidden", "browse_only", "impact", "size", "severity"))
    bare = FoundUpdate.model_validate({"id": "u-9", "revision": 1, **lacking})
    assert judged(bare) == (False, "its classification (none that we know) is not under updates.classifications")
    assert str(bare) == "u-9"
    assert update(kb=["890830", "vendor's own"]).kb == ("KB890830", "vendor's own")


def test_the_same_update_twice_is_judged_once_and_two_revisions_twice() -> None:
    """An update's identity is UpdateID and RevisionNumber together; titles repeat."""
    assert len(admit([update(), update(), update(id="U-1")], Updates())) == 1
    assert len(admit([update(), update(revision=201)], Updates())) == 2


def test_servicing_stacks_come_first_and_alone() -> None:
    stack = update("2026-02 Servicing Stack Update for Windows Server 2016 (KB5075902)", id="ssu", kb=["5075902"])
    exclusive, one, other = update(id="x", impact=2), update(id="a"), update(id="b")
    assert batches([one, exclusive, stack, other]) == ((stack,), (exclusive,), (one, other))
    assert batches([]) == ()
    assert judged(stack.model_copy(update={"categories": ()}), classifications=["servicing-stacks"])[0]
    german = update("2026-02 Wartungsstapelupdate für Windows Server 2016 (KB5075902)", id="ssu", kb=["5075902"])
    assert batches([one, exclusive, german]) == ((german,), (exclusive,), (one,))


def test_a_title_names_its_kb_once() -> None:
    assert str(update()) == CUMULATIVE
    assert str(update("Security Update")) == "Security Update (KB5077181)"
