#Requires -Version 5.1
<#
.SYNOPSIS
Reads a file to its end, on a disk of this host or on a share, and answers with what it read.
.PARAMETER secrets
For a share: "share.username", "share.password". Without them the share is tried with this machine's account.
.OUTPUTS
path, sha256, size.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$path,
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Use-Share -Path $path -Secrets $secrets -Key 'share' -Work {
    if (-not [IO.File]::Exists((ConvertTo-LongPath -Path $path))) { throw (New-Failure -Id 'FileMissing' -Message "$env:COMPUTERNAME finds no file $path.") }
    $meter = New-ProgressMeter -Total (Get-FileLength -Path $path) -Message "hashing $path"
    $digest = Get-FileDigest -Path $path -Meter $meter
    [ordered]@{ path = $path; sha256 = $digest.sha256; size = $digest.size }
}
