#Requires -Version 5.1
<#
.SYNOPSIS
Withdraws a job that has not begun; with 'begun' also ends one that has.
.DESCRIPTION
Answers {stopped, job}: whether this call ended it, and the facts of Get-PatchJob. A job that had ended, that this host
does not know, or that has begun while 'begun' is not set, is left as it is. A withdrawn job reads 'failed' with the
error id JobWithdrawn, and nothing of it has run or will; a stopped one JobStopped. Either's secrets are deleted, and the
snapshot through which a stopped one has read.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$id,
    [Parameter(Mandatory = $true)][int]$fence,
    [bool]$begun = $false
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Set-JobEnd {
    <# .SYNOPSIS Ends the job in job.json where it is still in that state; answers whether it was. #>
    param([Parameter(Mandatory = $true)][string]$State, [Parameter(Mandatory = $true)][string]$ErrorId, [Parameter(Mandatory = $true)][string]$Message)
    # The launcher begins under this lock: a job is either begun or withdrawn.
    Use-Lock -LockName 'jobs' -Work {
        $job = Read-JsonFile -Path "$folder\job.json"
        if ($null -eq $job -or $job.state -ne $State) { return $false }
        $job.state = 'failed'
        $job.ended = Get-IsoNow
        $job.error = [ordered]@{ type = 'System.OperationCanceledException'; message = $Message; hresult = -2146233029; script = $job.script; line = 0; id = $ErrorId }
        Write-JsonFile -Path "$folder\job.json" -Value $job
        Remove-JobSecret -Folder $folder
        $true
    }
}

function Stop-JobTask {
    <# .SYNOPSIS Ends the task of the job, and waits until it has. #>
    $facts = Get-JobFact -Id $id
    if ($null -ne $facts.task_state) { Stop-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $id }
    $watch = [Diagnostics.Stopwatch]::StartNew()
    while ($facts.task_state -in @('Running', 'Queued')) {
        if ($watch.Elapsed.TotalSeconds -ge 30) {
            throw (New-Failure -Id 'JobStillRuns' -Message "Job $id did not end within 30 s of being stopped. Look for it in the Task Scheduler under EngageIPPatching.")
        }
        Start-Sleep -Milliseconds 200
        $facts = Get-JobFact -Id $id
    }
}

$folder = Get-JobFolder -Id $id
Initialize-PatchingRoot
Assert-Fence -Fence $fence
$null = Get-JobFact -Id $id
$stopped = Set-JobEnd -State 'created' -ErrorId 'JobWithdrawn' -Message "Job $id was withdrawn before it began."
if ($stopped) { Stop-JobTask }
elseif ($begun -and (Get-JobFact -Id $id).exists -and (Get-JobFact -Id $id).job.state -eq 'running') {
    Stop-JobTask
    # It may have come to its own end while it was being stopped.
    $stopped = Set-JobEnd -State 'running' -ErrorId 'JobStopped' -Message "Job $id was stopped."
    if ($stopped) { $null = Clear-VolumeSnapshot }
}
[ordered]@{ stopped = $stopped; job = Get-JobFact -Id $id }
