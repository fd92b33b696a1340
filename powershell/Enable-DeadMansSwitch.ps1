#Requires -Version 5.1
<#
.SYNOPSIS
Arms the dead man's switch of this host: a scheduled task (SYSTEM) that runs Restore-Service every so often.
.DESCRIPTION
Call it before anything of the host is held. It stays armed until Disable-DeadMansSwitch, over boots too, for three days
at most; arming again replaces it. The hashes are SHA-256 of the texts as UTF-8.
.PARAMETER parameters
Those of Restore-Service.
.OUTPUTS
armed (true), task (its name).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$script_text,
    [Parameter(Mandatory = $true)][string]$library_text,
    [Parameter(Mandatory = $true)][string]$launcher_text,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)][string]$library_sha256,
    [Parameter(Mandatory = $true)][string]$launcher_sha256,
    [Parameter(Mandatory = $true)]$parameters,
    [Parameter(Mandatory = $true)][int]$every_seconds,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$name = Get-SwitchName
$utf8 = New-Object Text.UTF8Encoding($false)
$texts = [ordered]@{ 'script.ps1' = $script_text; 'library.ps1' = $library_text; 'launcher.ps1' = $launcher_text }
$hashes = @{ 'script.ps1' = $sha256; 'library.ps1' = $library_sha256; 'launcher.ps1' = $launcher_sha256 }
foreach ($file in $texts.Keys) {
    if ((Get-BytesHash -Bytes $utf8.GetBytes($texts[$file])) -ne $hashes[$file]) {
        throw (New-Failure -Id 'JobHash' -Message "$file of the dead man's switch did not arrive as it was sent (SHA-256 differs). It is not armed.")
    }
}
$folder = Get-SwitchFolder
Initialize-FolderBelow -Path $folder
foreach ($file in $texts.Keys) { Write-File -Path "$folder\$file" -Bytes $utf8.GetBytes($texts[$file]) }
Write-JsonFile -Path "$folder\parameters.json" -Value $parameters
Write-JsonFile -Path "$folder\job.json" -Value ([ordered]@{
        id = $name; script = 'Restore-Service'; sha256 = $sha256; library_sha256 = $library_sha256; state = 'created'
        created = Get-IsoNow; started = $null; ended = $null; boot = $null; fence = $fence; result = $null; error = $null
    })
if ([IO.File]::Exists("$folder\said.json")) { [IO.File]::Delete("$folder\said.json") }

$action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$folder\launcher.ps1`" -Folder `"$folder`" -Repeats"
$principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
# An end is needed: Windows Server 2012 R2 takes no repetition without one, and none shall outlive its night for long.
$trigger = New-ScheduledTaskTrigger -Once -At ([datetime]::Now) -RepetitionInterval (New-TimeSpan -Seconds $every_seconds) -RepetitionDuration (New-TimeSpan -Days 3)
$settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -StartWhenAvailable -Priority 4 -MultipleInstances IgnoreNew -ExecutionTimeLimit (New-TimeSpan -Minutes 30)
$null = Register-ScheduledTask -TaskPath '\EngageIPPatching\' -TaskName $name -Action $action -Trigger $trigger -Principal $principal -Settings $settings -Description "EngageIP patching: restores service when no run looks after this host" -Force
[ordered]@{ armed = $true; task = "\EngageIPPatching\$name" }
