#Requires -Version 5.1
<#
.SYNOPSIS
Disarms the dead man's switch of this host and removes its files.
.OUTPUTS
was_armed; said (what it last wrote into the Application log, or null).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$armed = $true
try {
    # It only looks: one that acts holds the lease, which refuses this call.
    Stop-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName (Get-SwitchName)
    Unregister-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName (Get-SwitchName) -Confirm:$false
}
catch {
    if ($_.FullyQualifiedErrorId -notlike 'CmdletizationQuery_NotFound*') { throw }
    $armed = $false
}
$folder = Get-SwitchFolder
$said = Read-JsonFile -Path "$folder\said.json"
$text = $null
if ($null -ne $said) { $text = $said.text }
if ([IO.Directory]::Exists($folder)) { Invoke-Retry -Work { [IO.Directory]::Delete($folder, $true) } }
[ordered]@{ was_armed = $armed; said = $text }
