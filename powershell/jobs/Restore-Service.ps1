#Requires -Version 5.1
<#
.SYNOPSIS
The dead man's switch: opens the sites of this host and starts its services when no run looks after it any more.
.DESCRIPTION
Nobody is asked: whoever could decide is gone. It acts only where all of this holds: the host is quiet, its lease is
held (a run that gave it back has said what stays closed) and was not renewed for after_seconds, and neither an
installation nor a restart had begun on any host of the estate (section patching) or on this one. It takes the lease
first, so that the silent run is refused should it wake up, and gives it back. Where not all has come back (after a power
cut services start late), it does not, and its next look tries again.
What it did, or why the host stays closed, is an event of EngageIPPatching (911) in the Application log. The quiesce
stays open: SQL Server Agent jobs need a login to be released, and recover does that and closes it.
.PARAMETER after
The same time, as people write it (2h); and recover, the command for a person: both for the event.
.OUTPUTS
outcome (idle, attended, closed, restored, incomplete), why, sites, services [as Start-HostServices answers].
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$after_seconds,
    [Parameter(Mandatory = $true)][string]$after,
    [Parameter(Mandatory = $true)][string]$recover
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$quiesce = Get-Quiesce
$lease = Get-Lease
if ($null -eq $quiesce -or $quiesce.state -ne 'open') { return [ordered]@{ outcome = 'idle'; why = 'this host is not quiet'; sites = @(); services = @() } }
$sections = @($quiesce.held.PSObject.Properties | ForEach-Object { $_.Name })
if ($sections -contains 'restored') { return [ordered]@{ outcome = 'idle'; why = 'service has been restored'; sites = @(); services = @() } }
if ($null -eq $lease -or $lease.released) { return [ordered]@{ outcome = 'idle'; why = 'no run holds this host'; sites = @(); services = @() } }
$again = Test-SwitchLease -Lease $lease
$silent = ([datetime]::UtcNow - (ConvertFrom-IsoDate -Text $lease.renewed)).TotalSeconds
if ($silent -lt $after_seconds -and -not $again) { return [ordered]@{ outcome = 'attended'; why = 'a run looks after this host'; sites = @(); services = @() } }

$who = $lease.holder
if ($again) { $who = 'The run before' }
$closed = "$who has not been heard of for $after, and what it installs may be half done: the sites of this host stay closed, its services stopped. Run: $recover"
$begun = @($sections | Where-Object { Test-BegunSection -Section $_ })
if ($begun.Count -gt 0) {
    Write-SwitchEvent -Level 'ERROR' -Text $closed
    return [ordered]@{ outcome = 'closed'; why = "begun: $($begun -join ', ')"; sites = @(); services = @() }
}

$fence = Enter-SwitchLease -Silent $lease
$done = $false
if ($fence -eq 0) { return [ordered]@{ outcome = 'attended'; why = 'a run looks after this host again'; sites = @(); services = @() } }
try {
    # Customers may be at work from here on: backups of this quiesce are not the last word any more. Looked at once more
    # under the lock: the run may have woken up, and let installs begin, a moment before its lease was taken.
    $seen = @{ begun = @() }
    $null = Update-Quiesce -Number $quiesce.number -Fence $fence -Change {
        param($record)
        $seen.begun = @($record.held.PSObject.Properties | ForEach-Object { $_.Name } | Where-Object { Test-BegunSection -Section $_ })
        if ($seen.begun.Count -eq 0) { Add-Member -InputObject $record.held -MemberType NoteProperty -Name 'reopening' -Value $true -Force }
    }
    if ($seen.begun.Count -gt 0) {
        $done = $true
        Write-SwitchEvent -Level 'ERROR' -Text $closed
        return [ordered]@{ outcome = 'closed'; why = "begun: $($seen.begun -join ', ')"; sites = @(); services = @() }
    }
    $names = @($quiesce.sites | ForEach-Object { $_.name })
    $faults = @(Open-Site -SiteNames $names -Recorded @($quiesce.sites))
    Assert-Fence -Fence $fence
    $order = @($quiesce.services | Where-Object { $_.status -eq 'Running' } | ForEach-Object { $_.name })
    [array]::Reverse($order)
    $services = @(Start-ServiceInOrder -Names $order -TimeoutSeconds 600)
    $faults += @($services | Where-Object { $_.status -ne 'Running' } | ForEach-Object { "$($_.name): $($_.error)" })
    Assert-Fence -Fence $fence
    $outcome = 'restored'
    if ($faults.Count -gt 0) { $outcome = 'incomplete' }
    $null = Update-Quiesce -Number $quiesce.number -Fence $fence -Change {
        param($record)
        if ($faults.Count -eq 0) {
            foreach ($section in 'released', 'restored') { Add-Member -InputObject $record.held -MemberType NoteProperty -Name $section -Value $true -Force }
        }
    }
    $jobs = @()
    if ($sections -contains 'agent_jobs') { $jobs = @($quiesce.held.agent_jobs) }
    $text = "$who has not been heard of for $after, and it had installed nothing."
    if ($names.Count -gt 0) { $text += " Open again: $($names -join ', ')." }
    if ($order.Count -gt 0) { $text += " Started again: $($order -join ', ')." }
    if ($faults.Count -gt 0) { $text += " But: $($faults -join '; ')." }
    if ($jobs.Count -gt 0) { $text += " SQL Server Agent jobs that stay held: $($jobs -join ', ')." }
    Write-SwitchEvent -Level 'WARNING' -Text "$text Run: $recover"
    $done = $faults.Count -eq 0
    [ordered]@{ outcome = $outcome; why = $faults -join '; '; sites = $names; services = $services }
}
finally { Exit-SwitchLease -Fence $fence -Done $done }
