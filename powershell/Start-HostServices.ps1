#Requires -Version 5.1
<#
.SYNOPSIS
Starts services: those named, in that order, or those that ran before the quiesce, in the reverse order of their stopping.
.DESCRIPTION
One that does not start does not keep the others down. Start types are never changed: a disabled one stays down and says so.
.PARAMETER names
Empty: as quiesce.json says.
.PARAMETER timeout_seconds
For all of them together.
.OUTPUTS
services [{name, exists, status, start_mode, error}] as they are afterwards; complete: all of them run.
#>
[CmdletBinding()]
param(
    [AllowEmptyCollection()][string[]]$names = @(),
    [Parameter(Mandatory = $true)][int]$fence,
    [int]$timeout_seconds = 300
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$order = @($names)
if ($order.Count -eq 0) {
    $record = Get-Quiesce
    if ($null -ne $record) {
        $order = @($record.services | Where-Object { $_.status -eq 'Running' } | ForEach-Object { $_.name })
        [array]::Reverse($order)
    }
}
$answers = @(Start-ServiceInOrder -Names $order -TimeoutSeconds $timeout_seconds)
[ordered]@{ services = $answers; complete = @($answers | Where-Object { $_.status -ne 'Running' }).Count -eq 0 }
