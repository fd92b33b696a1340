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
$watch = [Diagnostics.Stopwatch]::StartNew()
$complete = $true
$answers = foreach ($one in $order) {
    $fault = $null
    $now = Get-ServiceRecord -ServiceName $one
    if (-not $now.exists) { $fault = 'there is no such service' }
    elseif ($now.status -ne 'Running') {
        try {
            # It returns when the service runs, or fails; one that takes its time is waited for below.
            if ($now.status -ne 'StartPending') { Start-Service -Name $one }
            $now.status = Wait-ServiceStatus -ServiceName $one -Status 'Running' -Watch $watch -TimeoutSeconds $timeout_seconds
            if ($now.status -ne 'Running') { $fault = "still '$($now.status)' after $timeout_seconds s" }
        }
        catch {
            $fault = $_.Exception.GetBaseException().Message
            $now = Get-ServiceRecord -ServiceName $one
        }
    }
    if ($now.status -ne 'Running') { $complete = $false }
    [ordered]@{ name = $now.name; exists = $now.exists; status = $now.status; start_mode = $now.start_mode; error = $fault }
}
[ordered]@{ services = @($answers); complete = $complete }
