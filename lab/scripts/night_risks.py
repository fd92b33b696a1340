"""Get-NightRisks: what could disturb a night. ``sessions.json`` holds the lines of quser.exe below its heading."""

from __future__ import annotations

from typing import Any

from lab.host import Host
from lab.scripts import script
from lab.scripts.library import machine_value

EXTENSIONS = (
    "Microsoft.CPlat.Core.WindowsPatchExtension",
    "Microsoft.SoftwareUpdateManagement.WindowsOsUpdateExtension",
)
PROTECTORS = (1, 2, 4, 5, 6, 8, 9)


@script("Get-NightRisks")
def get_night_risks(host: Host, _parameters: dict[str, Any]) -> dict[str, Any]:
    client = next((s for name, s in host.read("services.json").items() if name.casefold() == "ccmexec"), None)
    return {
        "automatic_updates": machine_value(host, r"SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU", "AUOptions"),
        "config_manager": client is not None and client.get("start") != "Disabled",
        "azure_update_manager": any(host.disk.path(rf"C:\Packages\Plugins\{name}").is_dir() for name in EXTENSIONS),
        "system_volume": _system_volume(host),
        "sessions": [line.strip() for line in host.read("sessions.json").get("lines", [])],
    }


def _system_volume(host: Host) -> dict[str, Any] | None:
    for volume in host.read("cim.json").get("Win32_EncryptableVolume", []):
        if volume["DriveLetter"] == "C:":
            held = [kind for kind in PROTECTORS if volume.get("KeyProtectors", {}).get(str(kind))]
            return {"protection": volume["ProtectionStatus"], "protectors": held}
    return None
