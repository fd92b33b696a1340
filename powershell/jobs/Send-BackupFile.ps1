#Requires -Version 5.1
<#
.SYNOPSIS
Sends a backup file to every target, and answers for each what lies there now. One that fails does not stop the others.
.DESCRIPTION
To a share the file goes under a temporary name, is read back from there, hashed, and renamed. To S3 it goes by one
presigned PUT, signed with the file's checksum, which the store compares. A file that lies there already with the right
bytes is not sent again.
.PARAMETER sha256
What the file must be: the answer of the job that made it. A file that has changed since is sent nowhere.
.PARAMETER targets
[{name, kind ("share", "s3"), path, headers}]; path of a share's is the file's UNC path; of S3's the object's name, for
messages. headers {name: value} of S3's are what its URL was signed with, the checksum among them.
.PARAMETER secrets
"<name>.username" and "<name>.password" for a share, "<name>.url" for S3.
.OUTPUTS
source, sha256, size, targets [{name, kind, path, status ("stored", "failed"), sha256 (as read back, also where it
is not what was sent; null for S3), size,
http_status, etag, checksum (as the store answers), error}].
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$source,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)][object[]]$targets,
    [hashtable]$secrets,
    [int]$answer_seconds = 600
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Send-ToShare {
    param($Target, $Answer, $Meter)
    Use-Share -Path $Target.path -Secrets $secrets -Key $Target.name -Work {
        $temporary = "$($Target.path).partial"
        if ([IO.File]::Exists($Target.path)) {
            $there = Get-FileDigest -Path $Target.path -Meter (New-ProgressMeter -Total 1 -Message $Meter.message)
            if ($there.sha256 -eq $sha256) {
                $Answer.sha256 = $there.sha256
                $Answer.size = $there.size
                return
            }
        }
        $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($Target.path))
        try {
            $from = Open-SharedRead -Path $source
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
            if ($there.sha256 -ne $sha256) {
                throw (New-Failure -Id 'Damaged' -Message "what was read back from $($Target.path) is not what was sent (SHA-256 $($there.sha256), not $sha256). Check the network and the disks of the store.")
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
    param($Target, $Answer, $Meter)
    $url = $secrets["$($Target.name).url"]
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
    $request.Timeout = 1000 * $answer_seconds
    $request.ReadWriteTimeout = 1000 * $answer_seconds
    $request.ContentLength = $Answer.size
    foreach ($header in @($Target.headers.PSObject.Properties)) { $request.Headers[$header.Name] = [string]$header.Value }
    $response = $null
    try {
        try {
            $from = Open-SharedRead -Path $source
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

$size = Get-FileLength -Path $source
$meter = New-ProgressMeter -Total ($size * (1 + 2 * $targets.Count)) -Message "hashing $source"
$digest = Get-FileDigest -Path $source -Meter $meter
if ($digest.sha256 -ne $sha256) {
    throw (New-Failure -Id 'SourceChanged' -Message "$source has changed since it was made (another SHA-256). It was sent nowhere. Check the disk of $env:COMPUTERNAME, then run again.")
}
$answers = foreach ($target in $targets) {
    $answer = [ordered]@{ name = $target.name; kind = $target.kind; path = $target.path; status = 'failed'; sha256 = $null; size = $digest.size; http_status = $null; etag = $null; checksum = $null; error = $null }
    $meter.message = "sending $source to $($target.path)"
    try {
        if ($target.kind -eq 'share') { Send-ToShare -Target $target -Answer $answer -Meter $meter }
        elseif ($target.kind -eq 's3') { Send-ToStore -Target $target -Answer $answer -Meter $meter }
        else { throw (New-Failure -Id 'TargetKind' -Message "no such kind of store: '$($target.kind)'") }
        $answer.status = 'stored'
    }
    catch { $answer.error = $_.Exception.GetBaseException().Message }
    $answer
}
Write-JobProgress -Percent 100 -Message "sent $source"
[ordered]@{ source = $source; sha256 = $digest.sha256; size = $digest.size; targets = @($answers) }
