#Requires -Version 5.1
<#
.SYNOPSIS
Removes packages that were fetched to this host, or unpacked here, and that nobody has run since.
.DESCRIPTION
Answers {removed [names], failed [{name, error}], busy [jobs]}. While a job runs or is queued nothing is removed, and it is
named: it may be about to run one of them.
.PARAMETER older_than_days
How long ago a folder must have changed last, by this host's clock.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$older_than_days,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$staging = "$(Get-PatchingRoot)\staging"
# No job begins while this is held.
Use-Lock -LockName 'jobs' -Work {
    $removed = @()
    $failed = @()
    $busy = @()
    try { $busy = @(Get-ScheduledTask -TaskPath '\EngageIPPatching\' | Where-Object { [string]$_.State -in @('Running', 'Queued') } | ForEach-Object { $_.TaskName }) }
    catch {
        # No task is an answer; a scheduler that does not answer is not.
        if ($_.FullyQualifiedErrorId -notlike 'CmdletizationQuery_NotFound*') { throw }
    }
    if ($busy.Count -eq 0) {
        $before = [datetime]::UtcNow.AddDays(-$older_than_days)
        foreach ($place in @(@("$staging\packages", '^[0-9a-f]{64}\z'), @($staging, '^sql-[0-9a-f]{16}\z'))) {
            if (-not [IO.Directory]::Exists($place[0])) { continue }
            foreach ($level in @($staging, $place[0])) {
                $fault = Get-FolderFault -Path $level
                if ($null -ne $fault) { throw $fault }
            }
            # The files in it may be dated by their maker.
            foreach ($folder in @(Get-ChildItem -LiteralPath $place[0] -Directory -Force | Where-Object { $_.Name -match $place[1] -and $_.LastWriteTimeUtc -lt $before })) {
                try {
                    $fault = Get-FolderFault -Path $folder.FullName
                    if ($null -ne $fault) { throw $fault }
                    [IO.Directory]::Delete($folder.FullName, $true)
                    $removed += $folder.Name
                }
                catch { $failed += [ordered]@{ name = $folder.Name; error = $_.Exception.GetBaseException().Message } }
            }
        }
    }
    [ordered]@{ removed = $removed; failed = $failed; busy = $busy }
}
