#Requires -Version 5.1
# Jobs: long work that survives the connection and the orchestrator, as a scheduled task with its state on this disk.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-JobFolder {
    <# .SYNOPSIS Where a job keeps its files. An id that could lead out of the folder is refused. #>
    param([Parameter(Mandatory = $true)][string]$Id)
    if ($Id -notmatch '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$') {
        throw (New-Failure -Id 'JobId' -Message "'$Id' is no job id: letters, digits, '.', '_' and '-', at most 100.")
    }
    "$(Get-PatchingRoot)\jobs\$Id"
}

function Get-JobFact {
    <# .SYNOPSIS What is known of a job, undecided: its files, its task, its boot. #>
    param([Parameter(Mandatory = $true)][string]$Id)
    $folder = Get-JobFolder -Id $Id
    # The task first: a job that ends in between then shows as running with its end written, never the other way round.
    $task = Get-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $Id -ErrorAction SilentlyContinue
    $state = $null
    $result = $null
    if ($null -ne $task) {
        $state = [string]$task.State
        $result = [long](Get-ScheduledTaskInfo -TaskPath '\EngageIPPatching\' -TaskName $Id).LastTaskResult
    }
    $job = Read-JsonFile -Path "$folder\job.json"
    [ordered]@{
        id = $Id
        exists = $null -ne $job
        job = $job
        progress = Read-JsonFile -Path "$folder\progress.json"
        task_state = $state
        task_result = $result
        boot_id = Get-BootId
    }
}

function Write-JobProgress {
    <# .SYNOPSIS Tells how far the job is that this runs in; says nothing outside of one. #>
    param([Parameter(Mandatory = $true)][int]$Percent, [Parameter(Mandatory = $true)][string]$Message)
    # The launcher sets this variable; a script sees its caller's variables.
    $folder = Get-Variable -Name 'PatchJobFolder' -ValueOnly -ErrorAction SilentlyContinue
    if ($null -ne $folder) {
        Write-JsonFile -Path "$folder\progress.json" -Value ([ordered]@{ percent = $Percent; message = $Message; at = Get-IsoNow })
    }
}
