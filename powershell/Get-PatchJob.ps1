#Requires -Version 5.1
<#
.SYNOPSIS
What is known of jobs on this host; what it means is decided elsewhere.
.DESCRIPTION
Answers {boot_id, jobs [{id, exists, logged (whether it has a log: it has begun once), job (job.json), progress (progress.json), installer (installer.json: {processes [{id,
name, started}]}, as Install-Package saw them last), task_state, task_result, boot_id}]}, for
the ids asked for, or for every job of the host (by name) when 'ids' is left out. task_state is Ready, Running, Queued,
Disabled or null (no such task); task_result is LastTaskResult: 267009 runs, 267011 has never run, 267014 was ended,
267045 queued. A job whose own boot is not boot_id was cut by a reboot unless it had ended.
#>
[CmdletBinding()]
param(
    [string[]]$ids
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

if ($null -eq $ids) {
    $ids = @()
    $folder = "$(Get-PatchingRoot)\jobs"
    if ([IO.Directory]::Exists($folder)) {
        # What somebody else has put there is no job of this host.
        $ids = @(Get-ChildItem -LiteralPath $folder -Directory -Force | ForEach-Object { $_.Name } |
                Where-Object { (Test-JobId -Id $_) -and [IO.File]::Exists("$folder\$_\job.json") -and $null -eq (Get-FolderFault -Path "$folder\$_") })
        # Sort-Object goes by the host's language, which treats '-' and '.' in ways of its own.
        [Array]::Sort($ids, [StringComparer]::OrdinalIgnoreCase)
    }
}
$jobs = @(foreach ($id in $ids) { Get-JobFact -Id $id })
[ordered]@{ boot_id = Get-BootId; jobs = $jobs }
