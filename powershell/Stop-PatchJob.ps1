#Requires -Version 5.1
<#
.SYNOPSIS
Ends a job that is not to go on.
.DESCRIPTION
Answers {stopped, job}: whether this call ended it, and the facts of Get-PatchJob. A job that had ended, or that this
host does not know, is left as it is. A stopped job reads 'failed', with the error id JobStopped; its secrets are deleted.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$id,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$folder = Get-JobFolder -Id $id
Initialize-PatchingRoot
Assert-Fence -Fence $fence
Use-Lock -LockName 'jobs' -Work {
    $stopped = $false
    $facts = Get-JobFact -Id $id
    if ($facts.exists -and $facts.job.state -in @('created', 'running')) {
        if ($null -ne $facts.task_state) { Stop-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $id }
        $watch = [Diagnostics.Stopwatch]::StartNew()
        while ($facts.task_state -in @('Running', 'Queued') -and $watch.Elapsed.TotalSeconds -lt 30) {
            Start-Sleep -Milliseconds 200
            $facts = Get-JobFact -Id $id
        }
        if ($facts.task_state -in @('Running', 'Queued')) {
            throw (New-Failure -Id 'JobStillRuns' -Message "Job $id did not end within 30 s of being stopped. Look for it in the Task Scheduler under EngageIPPatching.")
        }
        # It may have come to its own end while it was being stopped.
        $job = (Get-JobFact -Id $id).job
        if ($job.state -in @('created', 'running')) {
            $job.state = 'failed'
            $job.ended = Get-IsoNow
            $job.error = [ordered]@{ type = 'System.OperationCanceledException'; message = "Job $id was stopped."; hresult = -2146233029; script = $job.script; line = 0; id = 'JobStopped' }
            Write-JsonFile -Path "$folder\job.json" -Value $job
            $stopped = $true
        }
        if ([IO.File]::Exists("$folder\secrets.bin")) { [IO.File]::Delete("$folder\secrets.bin") }
    }
    [ordered]@{ stopped = $stopped; job = Get-JobFact -Id $id }
}
