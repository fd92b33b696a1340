#Requires -Version 5.1
<#
.SYNOPSIS
Checks a SQL Server patch (hash, signature), runs it for one instance to its end, and answers with the evidence.
.PARAMETER path
Of the package; on a share it is copied into this product's staging folder first, and run from there.
.PARAMETER secrets
For a share: "share.username", "share.password".
.PARAMETER publisher
What the signer's subject must contain ("Microsoft Corporation"); empty: the signature is not looked at.
.PARAMETER arguments
Instead of the usual ones: /quiet /IAcceptSQLServerLicenseTerms /Action=Patch /InstanceName=<instance>.
.OUTPUTS
exit_code (decimal, signed: 0, 3010, -2067919934, ...), build_before, build_after (PatchLevel in the registry, null where
there is no such instance), signer, summary {path, text} of Summary.txt if setup wrote one (its last 12000 characters),
seconds. What the code means, and whether the build is right, is decided elsewhere.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$path,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)][string]$instance,
    [string]$publisher = '',
    [AllowEmptyCollection()][string[]]$arguments = @(),
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$path = Use-Share -Path $path -Secrets $secrets -Key 'share' -Work {
    if (-not [IO.File]::Exists($path)) { throw (New-Failure -Id 'PackageMissing' -Message "$env:COMPUTERNAME finds no package $path. Nothing was run.") }
    if ($path -notmatch '^\\\\') { return $path }
    $staged = "$(Get-PatchingRoot)\staging\$([IO.Path]::GetFileName($path))"
    $null = [IO.Directory]::CreateDirectory("$(Get-PatchingRoot)\staging")
    [IO.File]::Copy($path, $staged, $true)
    $staged
}
$digest = Get-FileDigest -Path $path -Meter (New-ProgressMeter -Total (Get-FileLength -Path $path) -Message "hashing $path")
if ($digest.sha256 -ne $sha256) {
    throw (New-Failure -Id 'PackageChanged' -Message "$path is not the package that was approved (SHA-256 $($digest.sha256), not $sha256). Nothing was run.")
}
$signer = $null
if ($publisher) {
    $signature = Get-AuthenticodeSignature -FilePath $path
    if ($null -ne $signature.SignerCertificate) { $signer = [string]$signature.SignerCertificate.Subject }
    if ([string]$signature.Status -ne 'Valid' -or $null -eq $signer -or $signer.IndexOf($publisher) -lt 0) {
        throw (New-Failure -Id 'PackageSignature' -Message "$path is not signed by $publisher (signature: $($signature.Status), signer: $signer). Nothing was run.")
    }
}
$before = Get-InstanceBuild -Instance $instance
if (@($arguments).Count -eq 0) { $arguments = @('/quiet', '/IAcceptSQLServerLicenseTerms', '/Action=Patch', "/InstanceName=$instance") }
Write-JobProgress -Percent 1 -Message "patching $instance ($before) with $([IO.Path]::GetFileName($path))"
$watch = [Diagnostics.Stopwatch]::StartNew()
$started = [datetime]::UtcNow
# -Wait waits for the children as well: the package unpacks itself, starts setup, and may end before it.
$process = Start-Process -FilePath $path -ArgumentList $arguments -Wait -PassThru
$code = [int]$process.ExitCode
$seconds = [int]$watch.Elapsed.TotalSeconds

$summary = $null
$newest = [datetime]::MinValue
$root = "$env:ProgramFiles\Microsoft SQL Server"
if ([IO.Directory]::Exists($root)) {
    foreach ($version in [IO.Directory]::GetDirectories($root)) {
        $file = "$version\Setup Bootstrap\Log\Summary.txt"
        if (-not [IO.File]::Exists($file)) { continue }
        $written = [IO.File]::GetLastWriteTimeUtc($file)
        # One from an earlier patch says nothing about this one. Two seconds: clocks and file times differ in grain.
        if ($written -lt $started.AddSeconds(-2) -or $written -le $newest) { continue }
        $newest = $written
        # UTF-16 or ANSI by version; the reader goes by the byte-order mark.
        $reader = New-Object IO.StreamReader((Open-SharedRead -Path $file), [Text.Encoding]::UTF8, $true)
        try { $text = $reader.ReadToEnd() }
        finally { $reader.Dispose() }
        $summary = [ordered]@{ path = $file; text = $text.Substring([Math]::Max(0, $text.Length - 12000)) }
    }
}
Write-JobProgress -Percent 100 -Message "setup ended with $code"
[ordered]@{ exit_code = $code; build_before = $before; build_after = Get-InstanceBuild -Instance $instance; signer = $signer; summary = $summary; seconds = $seconds }
