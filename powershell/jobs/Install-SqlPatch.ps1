#Requires -Version 5.1
<#
.SYNOPSIS
Checks a SQL Server patch (hash, publisher), unpacks it, runs its setup to its end, and answers with the evidence.
.DESCRIPTION
The package is checked, unpacked and run in this product's protected folder: what lies elsewhere could change between the
check and the run. What was unpacked is removed afterwards. Setup is never killed at work.
.PARAMETER source
A path or a share.
.PARAMETER publisher
What the CN of the signer must be, exactly.
.PARAMETER secrets
For a share: "source.username", "source.password".
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
    [Parameter(Mandatory = $true)][string]$source,
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

function Assert-NoSetup {
    <# .SYNOPSIS Fails where SQL Server setup is at work, whoever has begun it: two would be at the same files. #>
    $running = @(Get-SetupProcess)
    if ($running.Count -gt 0) {
        throw (New-Failure -Id 'SetupRuns' -Message "$($running[0].name) (process $($running[0].id)) of SQL Server setup runs already on $env:COMPUTERNAME. Wait for its end. Nothing was run.")
    }
}

Initialize-PatchingRoot
# Not $work: a block given to Invoke-Retry would see its parameter of that name.
$unpackTo = "$(Get-PatchingRoot)\staging\sql-$($sha256.Substring(0, 16))"
Assert-NoSetup
Remove-Work
# Windows runs no program of 4 GB or more.
$package = Receive-Package -Source $source -Sha256 $sha256 -Secrets $secrets -Largest 4GB
$file = [IO.Path]::GetFileName($package)
$ended = $null
try {
    $checked = Open-CheckedPackage -Path $package -Source $source -Sha256 $sha256 -Publisher $publisher
    try {
        $before = Get-InstanceBuild -Instance $instance
        $watch = [Diagnostics.Stopwatch]::StartNew()
        $started = [datetime]::UtcNow
        Initialize-FolderBelow -Path $unpackTo
        $unpacking = Start-Process -FilePath $package -ArgumentList @("/x:$unpackTo\x", '/quiet') -PassThru
        $ended = Wait-Setup -Process $unpacking -What "unpacking $file"
    }
    finally { $checked.stream.Dispose() }
    if ($ended -ne 'exited' -or $unpacking.ExitCode -ne 0 -or -not [IO.File]::Exists("$unpackTo\x\setup.exe")) {
        throw (New-Failure -Id 'PackageUnpack' -Message "$source could not be unpacked to $unpackTo\x. Check the free space on the system drive, and that it is a SQL Server patch. Nothing was patched.")
    }
    $target = "/InstanceName=$instance"
    if ($all_instances) { $target = '/AllInstances' }
    # One that has begun meanwhile may be at work in this very folder: what fails here leaves it as it is.
    $ended = 'lost'
    Assert-NoSetup
    $ended = 'exited'
    Write-JobProgress -Percent 5 -Message "patching $instance ($before) with $file"
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
        signer = $checked.signer
        summaries = $summaries
        seconds = [int]$watch.Elapsed.TotalSeconds
    }
}
finally {
    # One that still runs needs its files; what cannot be removed is removed before the next patch.
    if ($ended -notin @('late', 'lost')) {
        try { Remove-Work }
        catch { Write-JobProgress -Percent 100 -Message "$unpackTo could not be removed: $($_.Exception.GetBaseException().Message)" }
        try { Invoke-Retry -Work { [IO.File]::Delete($package) } }
        catch { $null = $_ } # a virus scanner holds it: what lies there is checked again before it runs again
    }
}
