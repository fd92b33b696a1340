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

function Send-ToShare {
    <#
    .SYNOPSIS Sends a file to a share: under a temporary name, read back from there, hashed, and renamed.
    .DESCRIPTION What lies there now goes into $Answer (sha256 as read back, size). A file that has the right bytes stays.
    #>
    param([Parameter(Mandatory = $true)][string]$Source, [Parameter(Mandatory = $true)][string]$Sha256, [Parameter(Mandatory = $true)]$Target, [Parameter(Mandatory = $true)]$Answer, [Parameter(Mandatory = $true)][hashtable]$Meter, [hashtable]$Secrets)
    Use-Share -Path $Target.path -Secrets $Secrets -Key $Target.name -Work {
        $temporary = "$($Target.path).partial"
        if ([IO.File]::Exists($Target.path)) {
            $there = Get-FileDigest -Path $Target.path -Meter (New-ProgressMeter -Total 1 -Message $Meter.message)
            if ($there.sha256 -eq $Sha256) {
                $Answer.sha256 = $there.sha256
                $Answer.size = $there.size
                return
            }
        }
        $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($Target.path))
        try {
            $from = Open-SharedRead -Path $Source
            try {
                # Written through, so that what is read back has been at the server.
                $to = New-Object IO.FileStream($temporary, [IO.FileMode]::Create, [IO.FileAccess]::Write, [IO.FileShare]::None, 65536, [IO.FileOptions]::WriteThrough)
                try {
                    $null = Copy-Stream -From $from -To $to -Meter $Meter
                    $to.Flush($true)
                }
                finally { $to.Dispose() }
            }
            finally { $from.Dispose() }
            $there = Get-FileDigest -Path $temporary -Meter $Meter
            $Answer.sha256 = $there.sha256
            if ($there.sha256 -ne $Sha256) {
                throw (New-Failure -Id 'Damaged' -Message "what was read back from $($Target.path) is not what was sent (SHA-256 $($there.sha256), not $Sha256). Check the network and the disks of the store.")
            }
            if ([IO.File]::Exists($Target.path)) { [IO.File]::Delete($Target.path) }
            [IO.File]::Move($temporary, $Target.path)
            $Answer.size = $there.size
        }
        finally {
            if ([IO.File]::Exists($temporary)) { [IO.File]::Delete($temporary) }
        }
    }
}

function Send-ToStore {
    <# .SYNOPSIS Sends a file by a presigned PUT with the headers it was signed with; what S3 says goes into $Answer. #>
    param([Parameter(Mandatory = $true)][string]$Source, [Parameter(Mandatory = $true)]$Target, [Parameter(Mandatory = $true)]$Answer, [Parameter(Mandatory = $true)][hashtable]$Meter, [Parameter(Mandatory = $true)][hashtable]$Secrets, [Parameter(Mandatory = $true)][int]$AnswerSeconds)
    $url = $Secrets["$($Target.name).url"]
    $where = ([uri]$url).GetLeftPart([UriPartial]::Authority)
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    # Two connections to one host are the default.
    [Net.ServicePointManager]::DefaultConnectionLimit = 32
    $request = [Net.WebRequest]::Create([uri]$url)
    $request.Method = 'PUT'
    # SYSTEM has no proxy of its own: what it would find is somebody's leftover.
    $request.Proxy = $null
    $request.AllowAutoRedirect = $false
    $request.AllowWriteStreamBuffering = $false
    $request.ServicePoint.Expect100Continue = $false
    $request.Timeout = 1000 * $AnswerSeconds
    $request.ReadWriteTimeout = 1000 * $AnswerSeconds
    $request.ContentLength = $Answer.size
    foreach ($header in @($Target.headers.PSObject.Properties)) { $request.Headers[$header.Name] = [string]$header.Value }
    $response = $null
    try {
        try {
            $from = Open-SharedRead -Path $Source
            try {
                $to = $request.GetRequestStream()
                try { $null = Copy-Stream -From $from -To $to -Meter $Meter }
                finally { $to.Dispose() }
            }
            finally { $from.Dispose() }
            $response = $request.GetResponse()
        }
        catch {
            $fault = Get-WebFault -Fault $_.Exception
            if ($null -eq $fault) { throw (New-Failure -Id 'SendFailed' -Message "the connection to $where broke: $($_.Exception.GetBaseException().Message)") }
            if ($null -eq $fault.Response) { throw (New-Failure -Id 'NoAnswer' -Message "$where does not answer ($($fault.Status)). Check the route, the firewall and the name from this host.") }
            $response = $fault.Response
        }
        $Answer.http_status = [int]$response.StatusCode
        if ($Answer.http_status -ne 200) {
            $text = (New-Object IO.StreamReader($response.GetResponseStream(), [Text.Encoding]::UTF8)).ReadToEnd()
            $code = [regex]::Match($text, '<Code>([^<]*)</Code>').Groups[1].Value
            $told = [regex]::Match($text, '<Message>([^<]*)</Message>').Groups[1].Value
            throw (New-Failure -Id 'Refused' -Message "$where answered HTTP $($Answer.http_status) ${code}: $told".TrimEnd(' ', ':'))
        }
        $Answer.etag = $response.Headers['ETag']
        $Answer.checksum = $response.Headers['x-amz-checksum-sha256']
    }
    finally {
        if ($null -ne $response) { $response.Dispose() }
    }
}
