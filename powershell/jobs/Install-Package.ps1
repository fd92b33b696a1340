#Requires -Version 5.1
<#
.SYNOPSIS
Brings a package to this host, checks its hash and signer, runs it to its end, and answers with the evidence.
.PARAMETER source
A path, a share, https:// or s3://bucket/key.
.PARAMETER kind
How the file is run: msi, msp, exe, msu, cab or ps1.
.PARAMETER publisher
What the CN of the signer must be, exactly; empty: the signature is not looked at.
.PARAMETER probe
How the installed version is read (Get-PackageVersion).
.PARAMETER wait_codes
Exit codes after which it is run once more, $wait_seconds later, as long as $deadline_seconds allow.
.PARAMETER deadline_seconds
For all tries together. What still runs then is left running, and named.
.PARAMETER secrets
For a share "source.username" and "source.password", for a bucket "source.url".
.OUTPUTS
exit_code of the last try (decimal, signed; null where it still runs), tries [{code, seconds}], running [{id, name,
started}], trouble (why it could not be watched to its end; null where it was), versions_before, versions_after, signer, log (path of msiexec's), log_tail (its last 3000 characters), log_errors (its
lines with 'return value 3', each after the one before it), seconds. What it all means is decided elsewhere.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$name,
    [Parameter(Mandatory = $true)][ValidateSet('msi', 'msp', 'exe', 'msu', 'cab', 'ps1')][string]$kind,
    [Parameter(Mandatory = $true)][string]$source,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)]$probe,
    [string]$publisher = '',
    [AllowEmptyCollection()][string[]]$arguments = @(),
    [AllowEmptyCollection()][int[]]$wait_codes = @(),
    [int]$wait_seconds = 30,
    [int]$deadline_seconds = 3600,
    [long]$largest = 4294967296,
    [string]$proxy = '',
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-CommandLine {
    <# .SYNOPSIS {file, arguments} by which a file of this kind is run. #>
    param([string]$File, [string]$Log)
    $system = "$env:SystemRoot\System32"
    $quoted = "`"$File`""
    switch ($kind) {
        'msi' { @{ file = "$system\msiexec.exe"; arguments = @('/i', $quoted, '/qn', '/norestart', '/l*v', "`"$Log`"") } }
        'msp' { @{ file = "$system\msiexec.exe"; arguments = @('/p', $quoted, '/qn', '/norestart', '/l*v', "`"$Log`"") } }
        'msu' { @{ file = "$system\wusa.exe"; arguments = @($quoted, '/quiet', '/norestart') } }
        'cab' { @{ file = "$system\dism.exe"; arguments = @('/online', '/add-package', "/packagepath:$quoted", '/quiet', '/norestart') } }
        'ps1' { @{ file = "$system\WindowsPowerShell\v1.0\powershell.exe"; arguments = @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', $quoted) } }
        default { @{ file = $File; arguments = @() } }
    }
}

$staged = Receive-Package -Source $source -Sha256 $sha256 -Secrets $secrets -Proxy $proxy -Largest $largest
$log = $null
if ($kind -in @('msi', 'msp')) {
    $folder = Get-Variable -Name 'PatchJobFolder' -ValueOnly -ErrorAction SilentlyContinue
    if ($null -eq $folder) { $folder = [IO.Path]::GetDirectoryName($staged) }
    $log = "$folder\msiexec.log"
}
$watch = [Diagnostics.Stopwatch]::StartNew()
$tries = @()
$sight = @{ running = @() }
$code = $null
$trouble = $null
$checked = $null
try {
    $checked = Open-CheckedPackage -Path $staged -Source $source -Sha256 $sha256 -Publisher $publisher
    $before = @(Read-PackageVersion -Probe $probe)
    $command = Get-CommandLine -File $staged -Log $log
    $line = @($command.arguments) + @($arguments)
    while ($true) {
        $message = "installing $name"
        if ($tries.Count -gt 0) { $message = "installing $name, try $($tries.Count + 1)" }
        Write-JobProgress -Percent 1 -Message $message
        $begun = $watch.Elapsed.TotalSeconds
        $since = [datetime]::UtcNow.AddSeconds(-2)
        # Not -Wait: it has no deadline. Start-Process takes no empty list.
        if ($line.Count -gt 0) { $process = Start-Process -FilePath $command.file -ArgumentList $line -PassThru }
        else { $process = Start-Process -FilePath $command.file -PassThru }
        $code = $null
        # From here on an error is none of the installer's: it goes on, and what it has done is asked for.
        try {
            # Without its handle in hand an ended process has no exit code.
            $null = $process.Handle
            $sight.running = @([ordered]@{ id = [long]$process.Id; name = [IO.Path]::GetFileNameWithoutExtension($command.file); started = ConvertTo-IsoDate -Date $process.StartTime })
            # First of all: this job may be ended under it.
            Save-Installer -Running $sight.running
            Wait-ProcessTree -Process $process -Sight $sight -Since $since -Watch $watch -Seconds $deadline_seconds -Message $message
            if ($process.HasExited) { $code = [int]$process.ExitCode }
            $tries += [ordered]@{ code = $code; seconds = [int]($watch.Elapsed.TotalSeconds - $begun) }
            if ($code -notin $wait_codes -or $watch.Elapsed.TotalSeconds + $wait_seconds -ge $deadline_seconds) { break }
            Write-JobProgress -Percent 1 -Message "$name must wait (exit code $code); once more in $wait_seconds s"
        }
        catch {
            $trouble = $_.Exception.GetBaseException().Message
            break
        }
        Start-Sleep -Seconds $wait_seconds
    }
}
finally {
    if ($null -ne $checked) { $checked.stream.Dispose() }
    # Windows Installer keeps what it needs of it; what still runs, or may run, may need all of it.
    if ($sight.running.Count -eq 0 -and $null -eq $trouble) {
        try { Invoke-Retry -Work { [IO.File]::Delete($staged) } }
        catch { $null = $_ } # a virus scanner holds it: what lies there is checked again before it runs again
    }
}

$tail = $null
$errors = @()
$after = @()
try {
    if ($null -ne $log -and [IO.File]::Exists($log)) {
        # UTF-16 with a mark.
        $reader = New-Object IO.StreamReader((Open-SharedRead -Path $log), [Text.Encoding]::Unicode, $true)
        try { $text = $reader.ReadToEnd() }
        finally { $reader.Dispose() }
        $tail = $text.Substring([Math]::Max(0, $text.Length - 3000))
        $lines = @($text -split '\r?\n')
        for ($i = 0; $i -lt $lines.Count -and $errors.Count -lt 12; $i++) {
            if ($lines[$i] -notmatch 'return value 3') { continue }
            foreach ($one in @($lines[[Math]::Max(0, $i - 1)], $lines[$i])) {
                if ($one -and $errors -notcontains $one) { $errors += $one.Substring(0, [Math]::Min(300, $one.Length)) }
            }
        }
    }
    $after = @(Read-PackageVersion -Probe $probe)
    Write-JobProgress -Percent 100 -Message "$name ended with $code"
}
catch {
    if ($null -eq $trouble) { $trouble = $_.Exception.GetBaseException().Message }
}
[ordered]@{
    exit_code = $code; tries = @($tries); running = @($sight.running); trouble = $trouble; versions_before = $before; versions_after = $after
    signer = $checked.signer; log = $log; log_tail = $tail; log_errors = @($errors); seconds = [int]$watch.Elapsed.TotalSeconds
}
