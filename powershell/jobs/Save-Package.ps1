#Requires -Version 5.1
<#
.SYNOPSIS
Brings a package to this host ahead of its install, and checks its hash and signer: what is wrong with it shows now.
.DESCRIPTION
Runs nothing. The install finds the file here, and checks it again.
.PARAMETER publisher
What the CN of the signer must be, exactly; empty: the signature is not looked at.
.PARAMETER secrets
For a share "source.username" and "source.password", for a bucket "source.url".
.OUTPUTS
path, size, signer (null where the signature was not looked at).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$source,
    [Parameter(Mandatory = $true)][string]$sha256,
    [string]$publisher = '',
    [long]$largest = 4294967296,
    [string]$proxy = '',
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$staged = Receive-Package -Source $source -Sha256 $sha256 -Secrets $secrets -Proxy $proxy -Largest $largest
try {
    $checked = Open-CheckedPackage -Path $staged -Source $source -Sha256 $sha256 -Publisher $publisher
    $checked.stream.Dispose()
}
catch {
    # It will never be run: another file under its name is fetched anew.
    [IO.File]::Delete($staged)
    throw
}
[ordered]@{ path = $staged; size = Get-FileLength -Path $staged; signer = $checked.signer }
