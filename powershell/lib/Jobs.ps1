#Requires -Version 5.1
# Jobs: long work that survives the connection and the orchestrator, as a scheduled task with its state on this disk.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Test-JobId {
    <# .SYNOPSIS Whether a text can be a job's id: it names a folder and a task, and leads nowhere else. #>
    param([Parameter(Mandatory = $true)][AllowEmptyString()][string]$Id)
    $Id -match '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\z'
}

function Get-JobFolder {
    <# .SYNOPSIS Where a job keeps its files. #>
    param([Parameter(Mandatory = $true)][string]$Id)
    if (-not (Test-JobId -Id $Id)) {
        throw (New-Failure -Id 'JobId' -Message "'$Id' is no job id: letters, digits, '.', '_' and '-', at most 100.")
    }
    "$(Get-PatchingRoot)\jobs\$Id"
}

function Remove-JobSecret {
    <# .SYNOPSIS Deletes the secrets of a job, also those of a call that was cut off while it wrote them. #>
    param([Parameter(Mandatory = $true)][string]$Folder)
    foreach ($file in [IO.Directory]::GetFiles($Folder, 'secrets.bin*')) { [IO.File]::Delete($file) }
}

function Get-JobFact {
    <#
    .SYNOPSIS What is known of a job, undecided: its files, its task, its boot.
    .DESCRIPTION What lies in a folder that somebody else has made is not believed: it is refused.
    #>
    param([Parameter(Mandatory = $true)][string]$Id)
    $folder = Get-JobFolder -Id $Id
    if ([IO.Directory]::Exists($folder)) {
        $fault = Get-FolderFault -Path $folder
        if ($null -ne $fault) { throw $fault }
    }
    # The task first: a job that ends in between then shows as running with its end written, never the other way round.
    $state = $null
    $result = $null
    try {
        $state = [string](Get-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $Id).State
        $result = [long](Get-ScheduledTaskInfo -TaskPath '\EngageIPPatching\' -TaskName $Id).LastTaskResult
    }
    catch {
        # No such task is an answer; a scheduler that does not answer is not.
        if ($_.FullyQualifiedErrorId -notlike 'CmdletizationQuery_NotFound*') { throw }
    }
    $job = Read-JsonFile -Path "$folder\job.json"
    [ordered]@{
        id = $Id
        exists = $null -ne $job
        logged = [IO.File]::Exists("$folder\job.log")
        job = $job
        progress = Read-JsonFile -Path "$folder\progress.json"
        installer = Read-JsonFile -Path "$folder\installer.json"
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
        # The launcher's.
        Write-JobLog -Text $Message
    }
}
