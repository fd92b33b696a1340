"""What could disturb a night on a host: some of it is refused, the rest is named beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from model.reboot import pending_verdict
from model.records import Answer, HostFacts

INSTALLS_BY_ITSELF = 4
"""AUOptions of Windows Update's policy: download, and install on a schedule."""
TPM, STARTUP_KEY, TPM_PIN, TPM_KEY, TPM_PIN_KEY, PASSPHRASE, NETWORK = 1, 2, 4, 5, 6, 8, 9
"""Win32_EncryptableVolume.GetKeyProtectorType."""


class SystemVolume(Answer):
    """The volume that Windows starts from, as BitLocker sees it."""

    protection: int
    """0 off or suspended, 1 on, 2 unknown (locked)."""
    protectors: tuple[int, ...] = ()

    @property
    def waits_for_a_person(self) -> bool:
        """A PIN or a password unlocks it at each start, and nothing that needs nobody does."""
        asks = {TPM_PIN, TPM_PIN_KEY, PASSPHRASE} & {*self.protectors}
        alone = {TPM, STARTUP_KEY, TPM_KEY, NETWORK} & {*self.protectors}
        return self.protection == 1 and bool(asks) and not alone


class NightRisks(Answer):
    """What Get-NightRisks answers."""

    automatic_updates: int | None = None
    config_manager: bool = False
    azure_update_manager: bool = False
    system_volume: SystemVolume | None = None
    sessions: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """The risks in the answer of the script."""
        return cls.model_validate(answer)

    @property
    def logged_on(self) -> tuple[str, ...]:
        """Who has a session, by name; quser's other columns are in the language of Windows."""
        names = (re.split(r"\s{2,}", line.removeprefix(">"), maxsplit=1)[0].strip() for line in self.sessions)
        return tuple(dict.fromkeys(name for name in names if name))


def refused(host: str, risks: NightRisks) -> Iterator[str]:
    """What must be mended first, one line each."""
    if risks.system_volume and risks.system_volume.waits_for_a_person:
        yield (
            f"{host}: BitLocker asks for a PIN or a password at each start, so nobody would see it again after its "
            "restart. Suspend it for the night (Suspend-BitLocker -MountPoint C: -RebootCount 0), or add network unlock."
        )


def cautions(facts: HostFacts, risks: NightRisks) -> Iterator[str]:
    """What the night goes on with, and people should know before: one line each, without the host's name."""
    others = []
    if risks.automatic_updates == INSTALLS_BY_ITSELF:
        others.append("Windows Update installs by itself (policy AUOptions 4)")
    if risks.config_manager:
        others.append("Configuration Manager's client is installed")
    if risks.azure_update_manager:
        others.append("Azure Update Manager's extension is installed")
    if others:
        yield f"{' and '.join(others)}: see that nothing else patches this host in the window."
    if (pending := pending_verdict(facts.pending_reboot)).due:
        yield f"a restart is pending ({', '.join(pending.signals)}): it restarts before anything is installed."
    if risks.logged_on:
        yield f"{', '.join(risks.logged_on)} {'is' if len(risks.logged_on) == 1 else 'are'} logged on: a restart ends the session."
