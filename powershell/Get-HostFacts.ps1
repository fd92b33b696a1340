#Requires -Version 5.1
<#
.SYNOPSIS
What a host is and how it stands: system, boot, drives, pending reboots, services, the lease and the quiesce on it.
.DESCRIPTION
Touches nothing. Answers
  computer, now, last_boot (ISO 8601, UTC), boot_id (null when no acting script has run since the boot), powershell,
  os {caption, version, build, ubr (null when unknown), domain_role (Win32_ComputerSystem.DomainRole: 4 and 5 are domain controllers)},
  drives [{letter, size, free}] in bytes, fixed drives only,
  pending_reboot {cbs_reboot_pending, windows_update, packages_pending, file_renames [paths waiting to be replaced or deleted, at most 20]},
  services [{name, status, start_mode (Auto, Manual, Disabled), exists}] in the order asked,
  cluster (a failover cluster's service is here and not disabled), lease, quiesce (the files, or null).
#>
[CmdletBinding()]
param(
    [string[]]$services = @()
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$system = Get-CimInstance -ClassName Win32_OperatingSystem
$machine = Get-CimInstance -ClassName Win32_ComputerSystem
$known = @{}
foreach ($each in @(Get-CimInstance -ClassName Win32_Service)) { $known[$each.Name] = $each }

$drives = @(foreach ($drive in [IO.DriveInfo]::GetDrives()) {
        if ($drive.DriveType -eq [IO.DriveType]::Fixed -and $drive.IsReady) {
            [ordered]@{ letter = $drive.Name.Substring(0, 1); size = $drive.TotalSize; free = $drive.AvailableFreeSpace }
        }
    })

$states = @(foreach ($name in $services) {
        if ($known.ContainsKey($name)) {
            # 'Stop Pending' here, 'StopPending' to Get-Service: one spelling for both.
            [ordered]@{ name = $name; status = $known[$name].State -replace ' '; start_mode = $known[$name].StartMode; exists = $true }
        }
        else { [ordered]@{ name = $name; status = $null; start_mode = $null; exists = $false } }
    })

# Pairs of names, the first waiting to become the second (or to be deleted, where that is empty).
$renames = @(Get-MachineValue -Key 'SYSTEM\CurrentControlSet\Control\Session Manager' -Name 'PendingFileRenameOperations')
$waiting = @(for ($i = 0; $i -lt $renames.Count; $i += 2) {
        if ($renames[$i]) { $renames[$i] -replace '^\\\?\?\\' }
    })

$servicing = 'SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing'
[ordered]@{
    computer = $env:COMPUTERNAME
    os = [ordered]@{
        caption = $system.Caption
        version = $system.Version
        build = [string]$system.BuildNumber
        ubr = Get-MachineValue -Key 'SOFTWARE\Microsoft\Windows NT\CurrentVersion' -Name 'UBR'
        domain_role = [int]$machine.DomainRole
    }
    powershell = $PSVersionTable.PSVersion.ToString()
    now = Get-IsoNow
    last_boot = ConvertTo-IsoDate -Date $system.LastBootUpTime
    boot_id = Get-BootId
    drives = $drives
    pending_reboot = [ordered]@{
        cbs_reboot_pending = Test-MachineKey -Key "$servicing\RebootPending"
        windows_update = Test-MachineKey -Key 'SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
        packages_pending = Test-MachineKey -Key "$servicing\PackagesPending"
        file_renames = @($waiting | Select-Object -First 20)
    }
    services = $states
    cluster = $known.ContainsKey('ClusSvc') -and $known['ClusSvc'].StartMode -ne 'Disabled'
    lease = Get-Lease
    quiesce = Read-JsonFile -Path "$(Get-PatchingRoot)\quiesce.json"
}
