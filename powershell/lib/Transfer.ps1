#Requires -Version 5.1
# Large files: reading, hashing, shares. Chunks of 1 MB, progress at most once a second, nothing whole in memory.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function ConvertTo-LongPath {
    <# .SYNOPSIS A path that may have more than 260 characters. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    if ($Path -match '^[A-Za-z]:\\') { "\\?\$Path" } else { $Path }
}

function ConvertTo-SizeText {
    <# .SYNOPSIS 1288490189 as '1.2 GB'; cut, not rounded. #>
    param([Parameter(Mandatory = $true)][long]$Bytes)
    $unit = 1L
    $names = @('bytes', 'KB', 'MB', 'GB', 'TB')
    $i = 0
    while ($i -lt 4 -and $Bytes -ge $unit * 1024) { $unit *= 1024; $i++ }
    if ($i -eq 0) { return "$Bytes bytes" }
    $whole = [Math]::Floor([decimal]$Bytes / $unit)
    '{0}.{1} {2}' -f $whole, [Math]::Floor(($Bytes - $whole * $unit) * 10 / $unit), $names[$i]
}

function Open-SharedRead {
    <# .SYNOPSIS A file for reading that others may go on writing, renaming and deleting. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $share = [IO.FileShare]::ReadWrite -bor [IO.FileShare]::Delete
    , [IO.File]::Open((ConvertTo-LongPath -Path $Path), [IO.FileMode]::Open, [IO.FileAccess]::Read, $share)
}

function New-ProgressMeter {
    <# .SYNOPSIS Counts bytes of a known total and tells the job's progress. #>
    param([Parameter(Mandatory = $true)][long]$Total, [Parameter(Mandatory = $true)][string]$Message)
    @{ total = $Total; done = 0L; message = $Message; watch = [Diagnostics.Stopwatch]::StartNew() }
}

function Add-Progress {
    <# .SYNOPSIS Counts $Bytes more. #>
    param([Parameter(Mandatory = $true)][hashtable]$Meter, [Parameter(Mandatory = $true)][long]$Bytes)
    $Meter.done += $Bytes
    if ($Meter.watch.ElapsedMilliseconds -lt 1000) { return }
    $Meter.watch.Restart()
    $percent = 0
    if ($Meter.total -gt 0) { $percent = [int][Math]::Min(99, [Math]::Floor(100 * $Meter.done / $Meter.total)) }
    Write-JobProgress -Percent $percent -Message $Meter.message
}

function Copy-Stream {
    <# .SYNOPSIS Copies one stream to another; answers how many bytes. #>
    param([Parameter(Mandatory = $true)]$From, [Parameter(Mandatory = $true)]$To, [Parameter(Mandatory = $true)][hashtable]$Meter)
    $buffer = [byte[]]::new(1MB)
    $sum = 0L
    while (($read = $From.Read($buffer, 0, $buffer.Length)) -gt 0) {
        $To.Write($buffer, 0, $read)
        $sum += $read
        Add-Progress -Meter $Meter -Bytes $read
    }
    $sum
}

function Get-FileDigest {
    <# .SYNOPSIS {sha256, size} of a file, read from disk. #>
    param([Parameter(Mandatory = $true)][string]$Path, [Parameter(Mandatory = $true)][hashtable]$Meter)
    $sha = [Security.Cryptography.SHA256]::Create()
    $stream = Open-SharedRead -Path $Path
    try {
        $buffer = [byte[]]::new(1MB)
        $size = 0L
        while (($read = $stream.Read($buffer, 0, $buffer.Length)) -gt 0) {
            $null = $sha.TransformBlock($buffer, 0, $read, $null, 0)
            $size += $read
            Add-Progress -Meter $Meter -Bytes $read
        }
        $null = $sha.TransformFinalBlock($buffer, 0, 0)
        [pscustomobject]@{ sha256 = ([BitConverter]::ToString($sha.Hash) -replace '-').ToLowerInvariant(); size = $size }
    }
    finally {
        $stream.Dispose()
        $sha.Dispose()
    }
}

function Get-FileLength {
    <# .SYNOPSIS The size of a file, by opening it: a file that is locked shows now, not at the end of the work. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $stream = Open-SharedRead -Path $Path
    try { $stream.Length }
    finally { $stream.Dispose() }
}

function New-SecureText {
    <# .SYNOPSIS One of the secrets as a SecureString; made by hand, as module logging records what cmdlets are given. #>
    param([Parameter(Mandatory = $true)][hashtable]$Secrets, [Parameter(Mandatory = $true)][string]$Key)
    $text = New-Object Security.SecureString
    foreach ($letter in $Secrets[$Key].ToCharArray()) { $text.AppendChar($letter) }
    $text.MakeReadOnly()
    $text
}

function Use-Share {
    <#
    .SYNOPSIS Does work on a share with the credentials $Secrets["<Key>.username"] and ["<Key>.password"].
    .DESCRIPTION SYSTEM reaches a share as HOST$, in a workgroup not at all. Without those secrets it is tried so.
    One process at a time: a session belongs to SYSTEM's logon, and closing it closes it for every job of this host.
    #>
    param([Parameter(Mandatory = $true)][string]$Path, [hashtable]$Secrets, [Parameter(Mandatory = $true)][string]$Key, [Parameter(Mandatory = $true)][ScriptBlock]$Work)
    $root = ''
    if ($Path -match '^(?<root>\\\\[^\\]+\\[^\\]+)') { $root = $Matches.root }
    if ($null -eq $Secrets -or -not $Secrets.ContainsKey("$Key.username")) {
        if ($root -and -not [IO.Directory]::Exists($root)) { throw (New-Failure -Id 'ShareMissing' -Message 'The network path was not found') }
        return (& $Work)
    }
    if (-not $root) { throw (New-Failure -Id 'NotOnShare' -Message "$Path does not lie on a share (\\server\share\...).") }
    $turn = New-Object Threading.Mutex($false, 'Global\EngageIPPatching-share')
    try {
        try { $mine = $turn.WaitOne([timespan]::FromHours(4)) }
        # The job that had it was killed: it is ours now.
        catch [Threading.AbandonedMutexException] { $mine = $true }
        if (-not $mine) { throw (New-Failure -Id 'ShareBusy' -Message "Another job of this host has been using shares for 4 hours. Look at the jobs in $(Get-PatchingRoot)\jobs.") }
        $drive = $null
        try {
            $taken = @(Get-PSDrive | ForEach-Object { $_.Name })
            $letter = @('Z', 'Y', 'X', 'W', 'V', 'U' | Where-Object { $taken -notcontains $_ })[0]
            $login = New-Object Management.Automation.PSCredential($Secrets["$Key.username"], (New-SecureText -Secrets $Secrets -Key "$Key.password"))
            # The drive is not used: it makes the session by which the UNC path opens.
            $drive = New-PSDrive -Name $letter -PSProvider FileSystem -Root $root -Credential $login
            & $Work
        }
        finally {
            if ($null -ne $drive) { Remove-PSDrive -Name $drive.Name -Force }
            $turn.ReleaseMutex()
        }
    }
    finally { $turn.Dispose() }
}
