#Requires -Version 5.1
<#
.SYNOPSIS
The canary: does what jobs do on a night, in small, by the same launcher and library, and leaves nothing behind.
.DESCRIPTION
One thing that does not work is an answer, not an error: the others are tried all the same.
.PARAMETER targets
As those of Send-BackupFile: the probe is sent to each, and removed again from shares (from S3 whoever signed the URL does).
.PARAMETER staging
Where backups are made on this host; the probe is written there first.
.OUTPUTS
language_mode, powershell, system (this runs as SYSTEM), elevated, system_free (bytes), sleep_seconds (until this host goes to sleep, 0
never, null unknown), update_agent {error, hresult}, staging {path, free, error}, sha256 (of the probe), targets [{name,
kind, path, error}].
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$probe,
    [Parameter(Mandatory = $true)][string]$staging,
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$targets,
    [hashtable]$secrets,
    [int]$answer_seconds = 60
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-SleepSecond {
    <# .SYNOPSIS After how long without input this host sleeps, by policy, its power plan, or the plan's default. #>
    $power = 'SYSTEM\CurrentControlSet\Control\Power'
    $scheme = Get-MachineValue -Key "$power\User\PowerSchemes" -Name 'ActivePowerScheme'
    $sleep = '238c9fa8-0aad-41ed-83f4-97be242c8f20'
    $idle = '29f6c1db-86da-48c5-9fdb-f2b67b1f44da'
    foreach ($key in @(
            "SOFTWARE\Policies\Microsoft\Power\PowerSettings\$idle",
            "$power\User\PowerSchemes\$scheme\$sleep\$idle",
            "$power\PowerSettings\$sleep\$idle\DefaultPowerSchemeValues\$scheme")) {
        $seconds = Get-MachineValue -Key $key -Name 'ACSettingIndex'
        if ($null -ne $seconds) { return [long]$seconds }
    }
    return $null
}

function Get-MissingFolder {
    <# .SYNOPSIS The folders that are made where this one is, deepest first; nothing where it is there. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    while ($Path -and -not [IO.Directory]::Exists($Path)) {
        $Path
        $Path = [IO.Path]::GetDirectoryName($Path)
    }
}

function Remove-MadeFolder {
    <#
    .SYNOPSIS Removes folders that were made for a probe, deepest first; never one in which somebody has written since.
    .DESCRIPTION Canaries of other hosts found the folder there and leave it: whoever made it waits until they are gone.
    #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Paths)
    $watch = [Diagnostics.Stopwatch]::StartNew()
    foreach ($path in $Paths) {
        while ([IO.Directory]::Exists($path)) {
            try { [IO.Directory]::Delete($path) }
            catch {
                $others = @(Get-ChildItem -LiteralPath $path -Force -ErrorAction SilentlyContinue | Where-Object { $_.Name -notlike 'canary-*' })
                if ($others.Count -gt 0 -or $watch.Elapsed.TotalSeconds -ge 10) { return }
                Start-Sleep -Milliseconds 100
            }
        }
    }
}

function Send-Probe {
    <# .SYNOPSIS Sends the probe to a share as backups are sent, and removes all that was made for it. #>
    param([Parameter(Mandatory = $true)]$Target, [Parameter(Mandatory = $true)]$Answer)
    for ($try = 1; ; $try++) {
        $made = @(Use-Share -Path $Target.path -Secrets $secrets -Key $Target.name -Work { Get-MissingFolder -Path ([IO.Path]::GetDirectoryName($Target.path)) })
        try {
            try { return (Send-ToShare -Source $file -Sha256 $sha256 -Target $Target -Answer $Answer -Meter $meter -Secrets $secrets) }
            finally {
                Use-Share -Path $Target.path -Secrets $secrets -Key $Target.name -Work {
                    if ([IO.File]::Exists($Target.path)) { [IO.File]::Delete($Target.path) }
                    Remove-MadeFolder -Paths $made
                }
            }
        }
        # The canary of another host has just removed the folder that it had made.
        catch { if ($try -ge 5 -or $_.Exception.GetBaseException() -isnot [IO.DirectoryNotFoundException]) { throw } }
    }
}

function Test-UpdateAgent {
    <# .SYNOPSIS Whether Windows Update lets this account search; nothing is asked of its server. #>
    $answer = [ordered]@{ error = $null; hresult = $null }
    try {
        $searcher = (New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher()
        $searcher.Online = $false
        $null = $searcher.Search("IsInstalled=0 and UpdateID='00000000-0000-0000-0000-000000000000'")
    }
    catch {
        $cause = $_.Exception.GetBaseException()
        $answer.error = $cause.Message
        $answer.hresult = ConvertTo-HResultText -Code $cause.HResult
    }
    $answer
}

Write-JobProgress -Percent 0 -Message 'trying what jobs need'
$user = [Security.Principal.WindowsIdentity]::GetCurrent()
$role = (New-Object Security.Principal.WindowsPrincipal($user)).IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
$bytes = (New-Object Text.UTF8Encoding($false)).GetBytes($probe)
$file = "$staging\canary.probe"
$there = [ordered]@{ path = $staging; free = $null; error = $null }
$made = @()
$answers = @()
try {
    try {
        $made = @(Get-MissingFolder -Path $staging)
        $null = [IO.Directory]::CreateDirectory($staging)
        $there.free = (New-Object IO.DriveInfo($staging.Substring(0, 1))).AvailableFreeSpace
        Write-File -Path $file -Bytes $bytes
    }
    catch {
        $there.error = $_.Exception.GetBaseException().Message
        # A job of this host can write to its own folder: the stores are tried from there.
        $file = "$(Get-PatchingRoot)\canary.probe"
        Write-File -Path $file -Bytes $bytes
    }
    $sha256 = Get-BytesHash -Bytes $bytes
    $answers = @(foreach ($target in $targets) {
            $answer = [ordered]@{ name = $target.name; kind = $target.kind; path = $target.path; error = $null }
            $sent = @{ size = $bytes.Length; sha256 = $null; http_status = $null; etag = $null; checksum = $null }
            $meter = New-ProgressMeter -Total $bytes.Length -Message "trying $($target.path)"
            try {
                if ($target.kind -eq 'share') { Send-Probe -Target $target -Answer $sent }
                elseif ($target.kind -eq 's3') { Send-ToStore -Source $file -Target $target -Answer $sent -Meter $meter -Secrets $secrets -AnswerSeconds $answer_seconds }
                else { throw (New-Failure -Id 'TargetKind' -Message "no such kind of store: '$($target.kind)'") }
            }
            catch { $answer.error = $_.Exception.GetBaseException().Message }
            $answer
        })
}
finally {
    if ([IO.File]::Exists($file)) { [IO.File]::Delete($file) }
    Remove-MadeFolder -Paths $made
}
[ordered]@{
    language_mode = [string]$ExecutionContext.SessionState.LanguageMode
    powershell = $PSVersionTable.PSVersion.ToString()
    system = $user.IsSystem
    elevated = $role
    system_free = (New-Object IO.DriveInfo($env:SystemDrive.Substring(0, 1))).AvailableFreeSpace
    sleep_seconds = Get-SleepSecond
    update_agent = Test-UpdateAgent
    staging = $there
    sha256 = $sha256
    targets = $answers
}
