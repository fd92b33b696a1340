#Requires -Version 5.1
# Shared by every script: state files that are whole or absent, whoever dies when. Dates are ISO 8601 in UTC.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function New-Failure {
    <# .SYNOPSIS An error to throw: callers judge it by its Id (FullyQualifiedErrorId), people by its Message. #>
    param([Parameter(Mandatory = $true)][string]$Id, [Parameter(Mandatory = $true)][string]$Message)
    $cause = New-Object InvalidOperationException($Message)
    New-Object Management.Automation.ErrorRecord($cause, $Id, [Management.Automation.ErrorCategory]::InvalidOperation, $null)
}

function ConvertTo-IsoDate {
    <# .SYNOPSIS A date as 2026-01-31T02:03:04.567Z. #>
    param([Parameter(Mandatory = $true)][datetime]$Date)
    $Date.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", [Globalization.CultureInfo]::InvariantCulture)
}

function ConvertFrom-IsoDate {
    <# .SYNOPSIS The date, in UTC, of such a text. #>
    param([Parameter(Mandatory = $true)][string]$Text)
    $style = [Globalization.DateTimeStyles]::AdjustToUniversal -bor [Globalization.DateTimeStyles]::AssumeUniversal
    [datetime]::Parse($Text, [Globalization.CultureInfo]::InvariantCulture, $style)
}

function Get-IsoNow {
    <# .SYNOPSIS This host's clock. #>
    ConvertTo-IsoDate -Date ([datetime]::UtcNow)
}

function Get-PatchingRoot {
    <# .SYNOPSIS Where this product keeps its state on a host. #>
    "$env:ProgramData\EngageIPPatching"
}

function Invoke-Retry {
    <#
    .SYNOPSIS Does work that another process may be in the way of.
    .DESCRIPTION A reader, a writer or an antivirus holds the file for a moment: sharing violation (0x80070020), lock
    violation (0x80070021), Replace in between (0x80070497..499). A file that is absent and a full disk are not that.
    #>
    param([Parameter(Mandatory = $true)][ScriptBlock]$Work, [int]$RetrySeconds = 10)
    # A block sees the variables of whoever calls it, these before its author's: hence their long names.
    $retryWatch = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        try { return (& $Work) }
        catch {
            $retryCause = $_.Exception.GetBaseException()
            $retryFull = ($retryCause.HResult -band 0xFFFFL) -in @(39L, 112L)
            if ($retryCause.GetType().FullName -ne 'System.IO.IOException' -or $retryFull -or $retryWatch.Elapsed.TotalSeconds -ge $RetrySeconds) { throw }
            Start-Sleep -Milliseconds 50
        }
    }
}

function Read-JsonFile {
    <# .SYNOPSIS The object in a file, or $null where there is no such file. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $text = Invoke-Retry -Work {
        if ([IO.File]::Exists($Path)) { [IO.File]::ReadAllText($Path, (New-Object Text.UTF8Encoding($false))) }
    }
    # A function that says nothing is not $null but AutomationNull, which ConvertTo-Json writes as {}.
    if ($null -eq $text) { return $null }
    ConvertFrom-Json -InputObject $text
}

function Write-File {
    <# .SYNOPSIS Replaces a file as a whole: a reader sees the old bytes or the new ones, also after a power cut. #>
    param([Parameter(Mandatory = $true)][string]$Path, [Parameter(Mandatory = $true)][byte[]]$Bytes)
    $fresh = '{0}.{1}.new' -f $Path, [guid]::NewGuid().ToString('N')
    try {
        $stream = New-Object IO.FileStream($fresh, [IO.FileMode]::CreateNew, [IO.FileAccess]::Write, [IO.FileShare]::None)
        try {
            $stream.Write($Bytes, 0, $Bytes.Length)
            $stream.Flush($true)
        }
        finally { $stream.Dispose() }
        Invoke-Retry -Work {
            if ([IO.File]::Exists($Path)) { [IO.File]::Replace($fresh, $Path, [NullString]::Value) }
            else { [IO.File]::Move($fresh, $Path) }
        }
    }
    finally {
        if ([IO.File]::Exists($fresh)) { [IO.File]::Delete($fresh) }
    }
}

function Write-JsonFile {
    <# .SYNOPSIS Replaces a file as a whole with a value as JSON (UTF-8, no byte-order mark). #>
    param([Parameter(Mandatory = $true)][string]$Path, [Parameter(Mandatory = $true)]$Value)
    $text = ConvertTo-Json -InputObject $Value -Depth 12 -Compress
    Write-File -Path $Path -Bytes (New-Object Text.UTF8Encoding($false)).GetBytes($text)
}

function Get-BytesHash {
    <# .SYNOPSIS SHA-256 of bytes, in lower-case hexadecimal. #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][byte[]]$Bytes)
    $sha = [Security.Cryptography.SHA256]::Create()
    try { ([BitConverter]::ToString($sha.ComputeHash($Bytes)) -replace '-').ToLowerInvariant() }
    finally { $sha.Dispose() }
}

function Use-Lock {
    <#
    .SYNOPSIS Does work that only one process on this host may do at a time.
    .DESCRIPTION The lock is the open handle, not the file's being there: nothing is left to clear up after a crash.
    #>
    param([Parameter(Mandatory = $true)][string]$LockName, [Parameter(Mandatory = $true)][ScriptBlock]$Work, [int]$PatienceSeconds = 10)
    $lockPath = "$(Get-PatchingRoot)\$LockName.lock"
    $lockStream = Invoke-Retry -RetrySeconds $PatienceSeconds -Work { [IO.File]::Open($lockPath, [IO.FileMode]::OpenOrCreate, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None) }
    try { & $Work }
    finally { $lockStream.Dispose() }
}
