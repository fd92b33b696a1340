#Requires -Version 5.1
<#
.SYNOPSIS
Evidence of whether this host has restarted since it was asked to, and how far its boot has come.
.DESCRIPTION
Touches nothing. Answers
  asked (restart.json: the last restart asked for here, or null), marker_present (the volatile mark of 'intent' is still
  there: not restarted yet), boot_id, last_boot, now (ISO 8601, UTC), uptime_seconds,
  servicing_in_progress (Component Based Servicing: 2 while updates configure, null when not told), logon_ready
  (Winlogon\AutoLogonChecked, which every boot makes anew once the logon screen is up).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$intent
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$booted = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
$marker = Get-MachineValue -Key 'SOFTWARE\EngageIPPatching\Restart' -Name 'Intent'
[ordered]@{
    asked = Read-JsonFile -Path "$(Get-PatchingRoot)\restart.json"
    marker_present = $marker -ceq $intent
    boot_id = Get-BootId
    last_boot = ConvertTo-IsoDate -Date $booted
    now = Get-IsoNow
    uptime_seconds = [long]([datetime]::UtcNow - $booted.ToUniversalTime()).TotalSeconds
    servicing_in_progress = Get-MachineValue -Key 'SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface' -Name 'ServicingInProgress'
    logon_ready = Test-MachineKey -Key 'SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\AutoLogonChecked'
}
