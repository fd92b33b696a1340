#Requires -Version 5.1
<#
.SYNOPSIS
Starts a job, once: a job of this id that has begun before is adopted as it is, whatever became of it.
.DESCRIPTION
One that nothing has begun (the call that made it was cut off, its task was refused, it was withdrawn) is made anew; so is
one that was stopped, since only what may safely be done again is ever stopped, and one that has ended where 'again' says so.
Writes the job's files into a protected folder and runs them as a scheduled task (SYSTEM). Answers {adopted, started,
job}: 'adopted' when the job had begun or was about to, 'started' when this call started it, and the facts of Get-PatchJob.
'parameters' are those of the job's script, 'secrets' a flat object of texts that the script gets as its parameter
-secrets; they are kept as a DPAPI file until the job begins. The hashes are SHA-256 of the texts as UTF-8.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$id,
    [Parameter(Mandatory = $true)][string]$script,
    [Parameter(Mandatory = $true)][string]$script_text,
    [Parameter(Mandatory = $true)][string]$library_text,
    [Parameter(Mandatory = $true)][string]$launcher_text,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)][string]$library_sha256,
    [Parameter(Mandatory = $true)][string]$launcher_sha256,
    [Parameter(Mandatory = $true)]$parameters,
    $secrets = $null,
    [Parameter(Mandatory = $true)][int]$deadline_seconds,
    [Parameter(Mandatory = $true)][int]$fence,
    [bool]$again = $false
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$folder = Get-JobFolder -Id $id
Initialize-PatchingRoot
Assert-Fence -Fence $fence
$utf8 = New-Object Text.UTF8Encoding($false)
$texts = [ordered]@{ 'script.ps1' = $script_text; 'library.ps1' = $library_text; 'launcher.ps1' = $launcher_text }
$hashes = @{ 'script.ps1' = $sha256; 'library.ps1' = $library_sha256; 'launcher.ps1' = $launcher_sha256 }
foreach ($file in $texts.Keys) {
    if ((Get-BytesHash -Bytes $utf8.GetBytes($texts[$file])) -ne $hashes[$file]) {
        throw (New-Failure -Id 'JobHash' -Message "$file of job $id did not arrive as it was sent (SHA-256 differs). Nothing was started.")
    }
}
if ($null -ne $secrets -and $secrets -isnot [hashtable]) {
    throw (New-Failure -Id 'JobSecrets' -Message "The secrets of job $id must be one flat object of texts. Nothing was started.")
}

# Two runs that start the same job at the same moment: one makes it, the other finds it.
Use-Lock -LockName 'jobs' -Work {
    Initialize-FolderBelow -Path $folder
    $facts = Get-JobFact -Id $id
    # The launcher begins the log with the work: where job.json is gone since, nobody knows how far that went.
    $begun = if ($facts.exists) { $facts.job.state -ne 'created' } else { $facts.logged }
    $undone = $facts.exists -and $facts.job.state -eq 'failed' -and $null -ne $facts.job.error -and $facts.job.error.id -in @('JobStopped', 'JobWithdrawn')
    $idle = $facts.task_state -notin @('Running', 'Queued')
    $fresh = $idle -and (-not $begun -or $undone -or $again)
    if ($fresh) {
        foreach ($told in @('progress.json', 'installer.json')) {
            if ([IO.File]::Exists("$folder\$told")) { [IO.File]::Delete("$folder\$told") }
        }
        foreach ($file in $texts.Keys) { Write-File -Path "$folder\$file" -Bytes $utf8.GetBytes($texts[$file]) }
        Write-JsonFile -Path "$folder\parameters.json" -Value $parameters
        Remove-JobSecret -Folder $folder
        if ($null -ne $secrets) { Write-File -Path "$folder\secrets.bin" -Bytes (Protect-Secret -Secrets $secrets) }
        # Last, since it is what makes the job exist.
        Write-JsonFile -Path "$folder\job.json" -Value ([ordered]@{
                id = $id; script = $script; sha256 = $sha256; library_sha256 = $library_sha256; launcher_sha256 = $launcher_sha256; state = 'created'
                created = Get-IsoNow; started = $null; ended = $null; boot = $null; fence = $fence; result = $null; error = $null
            })
        $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$folder\launcher.ps1`" -Folder `"$folder`""
        # By its SID: the account's name differs from language to language.
        $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
        # 7, the default priority, is background CPU and I/O.
        $settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -Priority 4 -MultipleInstances IgnoreNew -ExecutionTimeLimit (New-TimeSpan -Seconds $deadline_seconds)
        try {
            $null = Register-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $id -Action $action -Principal $principal -Settings $settings -Description "EngageIP patching: $script" -Force
            # Another run may have taken over while this one waited for the lock, and wrote.
            Assert-Fence -Fence $fence
            Start-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $id
        }
        catch {
            # Nobody else would delete its secrets.
            Remove-JobSecret -Folder $folder
            throw
        }
    }
    [ordered]@{ adopted = -not $fresh; started = $fresh; job = Get-JobFact -Id $id }
}
