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
        if ($target.kind -eq 'share') { Send-ToShare -Source $source -Sha256 $sha256 -Target $target -Answer $answer -Meter $meter -Secrets $secrets }
        elseif ($target.kind -eq 's3') { Send-ToStore -Source $source -Target $target -Answer $answer -Meter $meter -Secrets $secrets -AnswerSeconds $answer_seconds }
        else { throw (New-Failure -Id 'TargetKind' -Message "no such kind of store: '$($target.kind)'") }
        $answer.status = 'stored'
    }
    catch { $answer.error = $_.Exception.GetBaseException().Message }
    $answer
}
Write-JobProgress -Percent 100 -Message "sent $source"
[ordered]@{ source = $source; sha256 = $digest.sha256; size = $digest.size; targets = @($answers) }
