#Requires -Version 5.1
<#
.SYNOPSIS
The launcher of a job: what its scheduled task runs, as <folder>\launcher.ps1.
.DESCRIPTION
Runs script.ps1 with the library only when both still have the hashes in job.json, and writes what became of it there:
running, then succeeded with the result or failed with the error; job.log tells people the same. Exit code 0 or 1. A job that a boot or a kill cuts
stays 'running', with the boot it ran in. A job begins once: one that has begun before, or was withdrawn, is left as it
is, whoever starts its task (exit code 2). With -Repeats it begins anew each time.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$Folder,
    [switch]$Repeats
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

if ($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage') {
    # Cmdlets are all that works here: no methods, no types.
    $job = Get-Content -LiteralPath "$Folder\job.json" -Raw -Encoding UTF8 | ConvertFrom-Json
    if ($job.state -ne 'created' -and -not $Repeats) { exit 2 }
    $job.state = 'failed'
    $job.ended = "$((Get-Date).ToUniversalTime().ToString('s'))Z"
    $job.error = @{ type = 'LanguageMode'; message = "PowerShell runs in $($ExecutionContext.SessionState.LanguageMode) here, and needs FullLanguage. Nothing was run."; hresult = 0; script = $job.script; line = 0; id = 'LanguageMode' }
    Set-Content -LiteralPath "$Folder\job.json" -Value (ConvertTo-Json -InputObject $job -Depth 12 -Compress) -Encoding UTF8
    Remove-Item -Path "$Folder\secrets.bin*" -Force
    exit 1
}
$utf8 = New-Object Text.UTF8Encoding($false)

function Save-Job {
    <# .SYNOPSIS Replaces job.json; of its own, as the library may be what cannot be trusted. #>
    $fresh = "$Folder\job.json.new"
    $bytes = $utf8.GetBytes((ConvertTo-Json -InputObject $job -Depth 12 -Compress))
    $stream = New-Object IO.FileStream($fresh, [IO.FileMode]::Create)
    try {
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Flush($true)
    }
    finally { $stream.Dispose() }
    for ($try = 1; ; $try++) {
        try {
            # A Replace that failed half way (1176) has left none in its place.
            if ([IO.File]::Exists("$Folder\job.json")) { return [IO.File]::Replace($fresh, "$Folder\job.json", [NullString]::Value) }
            return [IO.File]::Move($fresh, "$Folder\job.json")
        }
        catch {
            # A reader has it open for a moment.
            if ($try -ge 100) { throw }
            Start-Sleep -Milliseconds 50
        }
    }
}

function Get-Stamp {
    <# .SYNOPSIS This host's clock, as in the other files. #>
    [datetime]::UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", [Globalization.CultureInfo]::InvariantCulture)
}

function Write-JobLog {
    <# .SYNOPSIS Adds a line to job.log for people: not what it said last, and up to 1 MB, but for the beginning and the end. #>
    param([Parameter(Mandatory = $true)][string]$Text, [switch]$Begin, [switch]$End)
    if ($Text -ceq $script:logged) { return }
    $script:logged = $Text
    $bytes = $utf8.GetBytes("$(Get-Stamp) $Text`r`n")
    $mode = [IO.FileMode]::Append
    if ($Begin) { $mode = [IO.FileMode]::Create }
    try {
        $log = New-Object IO.FileStream("$Folder\job.log", $mode, [IO.FileAccess]::Write, [IO.FileShare]::ReadWrite)
        try { if ($Begin -or $End -or $log.Length + $bytes.Length -le 1MB) { $log.Write($bytes, 0, $bytes.Length) } }
        finally { $log.Dispose() }
    }
    # A full disk, or somebody who has it open: no job fails for its log.
    catch { $script:logged = '' }
}

function Read-Checked {
    <# .SYNOPSIS The text of a file of this job, if it is the one that the job was made with. #>
    param([Parameter(Mandatory = $true)][string]$Name, [Parameter(Mandatory = $true)][string]$Hash)
    $bytes = [IO.File]::ReadAllBytes("$Folder\$Name")
    $sha = [Security.Cryptography.SHA256]::Create()
    $have = ([BitConverter]::ToString($sha.ComputeHash($bytes)) -replace '-').ToLowerInvariant()
    if ($have -ne $Hash) {
        $cause = New-Object InvalidOperationException("$Name of job $($job.id) is not the file that the job was made with (SHA-256 $have, not $Hash). Nothing was run.")
        throw (New-Object Management.Automation.ErrorRecord($cause, 'JobTampered', [Management.Automation.ErrorCategory]::SecurityError, $null))
    }
    $utf8.GetString($bytes)
}

function Read-Job {
    <# .SYNOPSIS job.json as it is now. #>
    ConvertFrom-Json -InputObject ([IO.File]::ReadAllText("$Folder\job.json", $utf8))
}

$job = Read-Job
if ($job.state -ne 'created' -and -not $Repeats) { exit 2 }
$secretsFile = "$Folder\secrets.bin"
# Write-JobProgress of the library looks for this name.
$PatchJobFolder = $Folder
$logged = ''
$code = 1
try {
    . ([ScriptBlock]::Create((Read-Checked -Name 'library.ps1' -Hash $job.library_sha256)))
    $work = [ScriptBlock]::Create((Read-Checked -Name 'script.ps1' -Hash $job.sha256))
    $boot = Initialize-BootId
    # The lock, so that whoever withdraws a job knows whether it has begun.
    $mine = Use-Lock -LockName 'jobs' -PatienceSeconds 60 -Work {
        if ((Read-Job).state -ne 'created' -and -not $Repeats) { return $false }
        $job.boot = $boot
        $job.started = Get-IsoNow
        $job.ended = $null
        $job.result = $null
        $job.error = $null
        $job.state = 'running'
        Save-Job
        Write-JobLog -Begin -Text "started: $($job.script)"
        $true
    }
    if (-not $mine) { exit 2 }
    $arguments = @{}
    foreach ($one in (Read-JsonFile -Path "$Folder\parameters.json").PSObject.Properties) { $arguments[$one.Name] = $one.Value }
    if ([IO.File]::Exists($secretsFile)) {
        $arguments['secrets'] = Unprotect-Secret -Bytes ([IO.File]::ReadAllBytes($secretsFile))
        # In memory now; a cut job leaves none behind.
        [IO.File]::Delete($secretsFile)
    }
    $all = @(& $work @arguments)
    if ($all.Count -ne 1) { throw "$($job.script) returned $($all.Count) objects, not one." }
    $job.result = $all[0]
    $job.state = 'succeeded'
    Write-JobLog -End -Text 'succeeded'
    $code = 0
}
catch {
    $cause = $_.Exception.GetBaseException()
    $line = 0
    if ($_.InvocationInfo) { $line = $_.InvocationInfo.ScriptLineNumber }
    $job.error = [ordered]@{ type = $cause.GetType().FullName; message = $cause.Message; hresult = $cause.HResult; script = $job.script; line = $line; id = $_.FullyQualifiedErrorId }
    $job.state = 'failed'
    $message = $cause.Message
    if ($message.Length -gt 4000) { $message = $message.Substring(0, 4000) }
    $trace = @("$($_.ScriptStackTrace)" -split '\r?\n' | Where-Object { $_ } | ForEach-Object { "`r`n    $_" }) -join ''
    Write-JobLog -End -Text "failed: $message ($($job.error.id))$trace"
}
finally {
    foreach ($file in [IO.Directory]::GetFiles($Folder, 'secrets.bin*')) { [IO.File]::Delete($file) }
}
$job.ended = Get-Stamp
Save-Job
exit $code
