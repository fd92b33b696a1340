#Requires -Version 5.1
<#
.SYNOPSIS
Stops the application pools of sites and waits until they have stopped: no worker holds a file of theirs then.
.DESCRIPTION
The sites themselves stay: what asks them is answered 503. Restart-AppPools starts the pools again.
.PARAMETER timeout_seconds
For all of them together.
.OUTPUTS
pools [{name, before, after}]; missing: names of sites that are not there; complete: every pool has stopped.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$sites,
    [Parameter(Mandatory = $true)][int]$fence,
    [int]$timeout_seconds = 120
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$facts = @($sites | ForEach-Object { Get-SiteFact -SiteName $_ })
$watch = [Diagnostics.Stopwatch]::StartNew()
$complete = $true
$pools = foreach ($pool in @($facts | Where-Object { $_.exists } | ForEach-Object { $_.pool } | Select-Object -Unique)) {
    $before = Get-PoolState -PoolName $pool
    if ($before -eq 'Started') { Stop-WebAppPool -Name $pool }
    # It lets requests come to their end first ('Stopping').
    while (($after = Get-PoolState -PoolName $pool) -notin @('Stopped', 'Unknown') -and $watch.Elapsed.TotalSeconds -lt $timeout_seconds) {
        Start-Sleep -Milliseconds 500
    }
    if ($after -notin @('Stopped', 'Unknown')) { $complete = $false }
    [ordered]@{ name = $pool; before = $before; after = $after }
}
[ordered]@{ pools = @($pools); missing = @($facts | Where-Object { -not $_.exists } | ForEach-Object { $_.name }); complete = $complete }
