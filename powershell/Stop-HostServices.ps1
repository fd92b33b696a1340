#Requires -Version 5.1
<#
.SYNOPSIS
Records how services are, then stops them in the order given. Start types are never changed.
.DESCRIPTION
The record of a quiesce number is written once: a second call after a crash sees stopped services and must not take them
for the earlier state. Running services that depend on a named one are recorded and stopped before it. The first that
does not stop ends the work: the order has a reason.
.PARAMETER timeout_seconds
For all of them together.
.OUTPUTS
services [{name, exists, status, start_mode, error}] as they are afterwards; complete: all that exist are stopped.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$names,
    [Parameter(Mandatory = $true)][int]$number,
    [Parameter(Mandatory = $true)][int]$fence,
    [int]$timeout_seconds = 300
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$order = @()
foreach ($wanted in $names) {
    $known = Get-ServiceRecord -ServiceName $wanted
    $also = @($wanted)
    if ($known.exists) { $also = @(Get-StopOrder -ServiceName $known.name) }
    foreach ($one in $also) { if ($order -notcontains $one) { $order += $one } }
}
$null = Update-Quiesce -Number $number -Fence $fence -Change {
    param($record)
    foreach ($one in $order) {
        if (@($record.services | Where-Object { $_.name -eq $one }).Count -gt 0) { continue }
        $now = Get-ServiceRecord -ServiceName $one
        if ($now.exists) { $record.services = @($record.services) + [pscustomobject][ordered]@{ name = $now.name; status = $now.status; start_mode = $now.start_mode } }
    }
}
$watch = [Diagnostics.Stopwatch]::StartNew()
$complete = $true
$answers = foreach ($one in $order) {
    $fault = $null
    $now = Get-ServiceRecord -ServiceName $one
    if ($complete -and $now.exists -and $now.status -ne 'Stopped') {
        # This can take minutes: whoever takes the estate over meanwhile starts the services again.
        Assert-Fence -Fence $fence
        try {
            if ($now.status -ne 'StopPending') { Stop-Service -Name $one -NoWait }
            $now.status = Wait-ServiceStatus -ServiceName $one -Status 'Stopped' -Watch $watch -TimeoutSeconds $timeout_seconds
            if ($now.status -ne 'Stopped') { $fault = "still '$($now.status)' after $timeout_seconds s" }
        }
        catch {
            $fault = $_.Exception.GetBaseException().Message
            $now = Get-ServiceRecord -ServiceName $one
        }
        $complete = $now.status -eq 'Stopped'
    }
    [ordered]@{ name = $now.name; exists = $now.exists; status = $now.status; start_mode = $now.start_mode; error = $fault }
}
[ordered]@{ services = @($answers); complete = $complete }
