#Requires -Version 5.1
<#
.SYNOPSIS
The services that Windows starts by itself, and what became of each.
.DESCRIPTION
Touches nothing. Services of a logged-on user are left out: their names end differently after every boot.
.OUTPUTS
services [{name, status, exit_code (of its last run: 0 ended in peace, 1077 was not started since the boot, else how it
failed), delayed (starts minutes after the boot), triggered (starts when something happens, and may end by itself)}].
#>
[CmdletBinding()] param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$services = foreach ($each in @(Get-CimInstance -ClassName Win32_Service | Where-Object { $_.StartMode -eq 'Auto' })) {
    $key = "SYSTEM\CurrentControlSet\Services\$($each.Name)"
    # SERVICE_USER_SERVICE: the template of a user's service, or a user's copy of it.
    if ((Get-MachineValue -Key $key -Name 'Type') -band 0x40) { continue }
    [ordered]@{
        name = $each.Name
        status = $each.State -replace ' '
        exit_code = [long]$each.ExitCode
        delayed = (Get-MachineValue -Key $key -Name 'DelayedAutostart') -eq 1
        triggered = Test-MachineKey -Key "$key\TriggerInfo"
    }
}
[ordered]@{ services = @($services) }
