#Requires -Version 5.1
<#
.SYNOPSIS
Checks a SQL Server patch (hash, publisher), unpacks it, runs its setup to its end, and answers with the evidence.
.DESCRIPTION
The package is copied into this product's protected folder and checked, unpacked and run there: what lies elsewhere could
change between the check and the run. What was unpacked is removed afterwards. Setup is never killed at work.
.PARAMETER secrets
For a share: "share.username", "share.password".
.PARAMETER publisher
CN or O of the certificate that the package must be signed with.
.PARAMETER arguments
Besides /quiet /IAcceptSQLServerLicenseTerms /Action=Patch and /InstanceName=<instance> (/AllInstances).
.PARAMETER grace_seconds
How long a setup that has said its last word in Summary.txt may take to end; then it is ended.
.OUTPUTS
ended: exited, said (its last word is in Summary.txt, its process had to be ended), late (it still runs after
deadline_seconds, and goes on) or lost (it could not be watched to its end, and may go on: trouble says why); exit_code
(decimal, signed; null unless exited), build_before, build_after (PatchLevel, null where there is no such instance), signer,
summaries [{path, written, text}] written since it began, seconds. What all this means is decided elsewhere.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$path,
    [Parameter(Mandatory = $true)][string]$sha256,
    [Parameter(Mandatory = $true)][string]$instance,
    [Parameter(Mandatory = $true)][string]$publisher,
    [bool]$all_instances = $false,
    [AllowEmptyCollection()][string[]]$arguments = @(),
    [int]$deadline_seconds = 7200,
    [int]$grace_seconds = 300,
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Remove-Work {
    <# .SYNOPSIS Removes what was unpacked; a virus scanner holds files for a moment. #>
    Invoke-Retry -Work { if ([IO.Directory]::Exists($unpackTo)) { [IO.Directory]::Delete($unpackTo, $true) } }
}

function Assert-Publisher {
    <# .SYNOPSIS The subject of the certificate that a file is validly signed with; throws unless it is the publisher's. #>
    param([Parameter(Mandatory = $true)][string]$File)
    $signature = Get-AuthenticodeSignature -FilePath $File
    $subject = $null
    if ($null -ne $signature.SignerCertificate) { $subject = [string]$signature.SignerCertificate.Subject }
    # The whole name: a certificate of 'Not Microsoft Corporation Ltd' holds it as well.
    $theirs = '(^|, ?)(CN|O)=("?)' + [regex]::Escape($publisher) + '\3(,|$)'
    if ([string]$signature.Status -ne 'Valid' -or $null -eq $subject -or $subject -cnotmatch $theirs) {
        throw (New-Failure -Id 'PackageSignature' -Message "$path is not signed by $publisher (signature: $($signature.Status), signer: $subject). Nothing was run.")
    }
    $subject
}

function Test-LastWord {
    <# .SYNOPSIS Whether Summary.txt holds setup's verdict on this patch. #>
    @(Get-SetupSummary -Since $started | Where-Object { $_.text -match 'Exit code \(Decimal\):\W*\d' -and $_.text -match 'Requested action:\W*Patch' }).Count -gt 0
}

function Test-SetupProcess {
    <# .SYNOPSIS Whether a process of setup runs; setup may restart WMI, and what cannot be seen now is looked at again. #>
    try { @(Get-SetupProcess).Count -gt 0 }
    catch { $true }
}

function Wait-Setup {
    <# .SYNOPSIS Waits for a program and those that it starts; answers exited, said or late. #>
    param([Parameter(Mandatory = $true)]$Process, [Parameter(Mandatory = $true)][string]$What)
    # Unless the handle is asked for in time, the exit code is lost.
    $null = $Process.Handle
    $waited = 0
    $silent = 0
    while (-not $Process.HasExited -or (Test-SetupProcess)) {
        if ($waited -ge $deadline_seconds) { return 'late' }
        if ($silent -ge $grace_seconds) { return 'said' }
        Start-Sleep -Seconds 5
        $waited += 5
        if (Test-LastWord) { $silent += 5 }
        Write-JobProgress -Percent ([int][Math]::Min(95, 5 + [Math]::Floor(90 * $waited / $deadline_seconds))) -Message "$What for $waited s"
    }
    'exited'
}

Initialize-PatchingRoot
# Not $work: a block given to Use-Share or Invoke-Retry would see their parameter of that name.
$unpackTo = "$(Get-PatchingRoot)\staging\sql-$($sha256.Substring(0, 16))"
$running = @(Get-SetupProcess)
if ($running.Count -gt 0) {
    throw (New-Failure -Id 'SetupRuns' -Message "$($running[0].name) (process $($running[0].id)) of SQL Server setup runs already on $env:COMPUTERNAME. Wait for its end. Nothing was run.")
}
Remove-Work
$ended = $null
try {
    $package = Use-Share -Path $path -Secrets $secrets -Key 'share' -Work {
        if (-not [IO.File]::Exists($path)) { throw (New-Failure -Id 'PackageMissing' -Message "$env:COMPUTERNAME finds no package $path. Nothing was run.") }
        $null = [IO.Directory]::CreateDirectory($unpackTo)
        $copy = "$unpackTo\$([IO.Path]::GetFileName($path))"
        [IO.File]::Copy($path, $copy, $true)
        $copy
    }
    $digest = Get-FileDigest -Path $package -Meter (New-ProgressMeter -Total (Get-FileLength -Path $package) -Message "hashing $path")
    if ($digest.sha256 -ne $sha256) {
        throw (New-Failure -Id 'PackageChanged' -Message "$path is not the package that was approved (SHA-256 $($digest.sha256), not $sha256). Nothing was run.")
    }
    $signer = Assert-Publisher -File $package
    $before = Get-InstanceBuild -Instance $instance
    $watch = [Diagnostics.Stopwatch]::StartNew()
    $started = [datetime]::UtcNow
    $unpacking = Start-Process -FilePath $package -ArgumentList @("/x:$unpackTo\x", '/quiet') -PassThru
    $ended = Wait-Setup -Process $unpacking -What "unpacking $([IO.Path]::GetFileName($path))"
    if ($ended -ne 'exited' -or $unpacking.ExitCode -ne 0 -or -not [IO.File]::Exists("$unpackTo\x\setup.exe")) {
        throw (New-Failure -Id 'PackageUnpack' -Message "$path could not be unpacked to $unpackTo\x. Check the free space on the system drive, and that it is a SQL Server patch. Nothing was patched.")
    }
    $target = "/InstanceName=$instance"
    if ($all_instances) { $target = '/AllInstances' }
    Write-JobProgress -Percent 5 -Message "patching $instance ($before) with $([IO.Path]::GetFileName($path))"
    $setup = Start-Process -FilePath "$unpackTo\x\setup.exe" -ArgumentList (@('/quiet', '/IAcceptSQLServerLicenseTerms', '/Action=Patch', $target) + $arguments) -PassThru
    $ended = 'lost'
    $code = $null
    $trouble = $null
    $after = $null
    $summaries = @()
    # From here on an error is none of setup's: it goes on, and what it has done is asked for.
    try {
        $how = Wait-Setup -Process $setup -What "setup has been patching $instance"
        if ($how -eq 'exited') { $code = [int]$setup.ExitCode }
        if ($how -eq 'said') {
            foreach ($one in @(Get-SetupProcess)) { Stop-Process -Id $one.id -Force }
        }
        $after = Get-InstanceBuild -Instance $instance
        $summaries = @(Get-SetupSummary -Since $started)
        Write-JobProgress -Percent 100 -Message "setup $how ($code)"
        $ended = $how
    }
    catch {
        $code = $null
        $trouble = $_.Exception.GetBaseException().Message
    }
    [ordered]@{
        ended = $ended
        exit_code = $code
        trouble = $trouble
        build_before = $before
        build_after = $after
        signer = $signer
        summaries = $summaries
        seconds = [int]$watch.Elapsed.TotalSeconds
    }
}
finally {
    # One that still runs needs its files; what cannot be removed is removed before the next patch.
    if ($ended -notin @('late', 'lost')) {
        try { Remove-Work }
        catch { Write-JobProgress -Percent 100 -Message "$unpackTo could not be removed: $($_.Exception.GetBaseException().Message)" }
    }
}
