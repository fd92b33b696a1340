#Requires -Version 5.1
<#
.SYNOPSIS
Removes jobs that nobody needs any more: their scheduled tasks and their folders.
.DESCRIPTION
Answers {removed [ids], failed [{id, error}]}. A job whose task runs or is queued is left as it is; an id that this host
does not know counts as removed.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$ids,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$removed = @()
$failed = @()
foreach ($id in $ids) {
    try {
        $folder = Get-JobFolder -Id $id
        Use-Lock -LockName 'jobs' -Work {
            $facts = Get-JobFact -Id $id
            if ($facts.task_state -in @('Running', 'Queued')) { throw (New-Failure -Id 'JobRuns' -Message 'it has not ended') }
            if ($null -ne $facts.task_state) { Unregister-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $id -Confirm:$false }
            if ([IO.Directory]::Exists($folder)) {
                # job.json last: a removal that is cut off is found, and gone on with.
                foreach ($file in [IO.Directory]::GetFiles($folder)) {
                    if ([IO.Path]::GetFileName($file) -ne 'job.json') { [IO.File]::Delete($file) }
                }
                [IO.Directory]::Delete($folder, $true)
            }
        }
        $removed += $id
    }
    catch { $failed += [ordered]@{ id = $id; error = $_.Exception.GetBaseException().Message } }
}
[ordered]@{ removed = @($removed); failed = @($failed) }
