#Requires -Version 5.1
<#
.SYNOPSIS
Installs exactly the update files named (.msu, .cab), and answers with the exit code of each. Starts no reboot.
.DESCRIPTION
All are copied to this host first (of several .msu on one share wusa fails, and a cumulative update that builds upon a
checkpoint wants both in one folder), then all are checked (hash, Microsoft's signature), and only then the first is installed. A .cab goes in by
dism.exe, a .msu by wusa.exe; from build 26100 (Windows Server 2025) on by dism.exe too, which knows of checkpoints. What an exit
code means, and whether the update is in, is decided elsewhere.
.PARAMETER folder
Where they lie: on the host, or on a share.
.PARAMETER files
[{name, sha256}], in the order of the plan.
.PARAMETER secrets
For a share: "share.username", "share.password".
.OUTPUTS
reboot_required (of Component Based Servicing, afterwards), files [{name, skipped (null, "not offered": it lies there no
more, "reboot first"), tool ("wusa", "dism", null), exit_code (decimal, signed; null where nothing was run)}].
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$folder,
    [Parameter(Mandatory = $true)][object[]]$files,
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$pending = 'SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending'
$answers = @(foreach ($file in $files) { [ordered]@{ name = [string]$file.name; skipped = $null; tool = $null; exit_code = $null } })
if (Test-MachineKey -Key $pending) {
    foreach ($answer in $answers) { $answer.skipped = 'reboot first' }
    return [ordered]@{ reboot_required = $true; files = $answers }
}
$staging = "$(Get-PatchingRoot)\staging\updates"
Initialize-FolderBelow -Path $staging
# A job that was cut has left its files: dism.exe takes what it finds beside an update, and nobody has checked those.
[IO.Directory]::Delete($staging, $true)
$null = [IO.Directory]::CreateDirectory($staging)
try {
    Use-Share -Path $folder -Secrets $secrets -Key 'share' -Work {
        foreach ($answer in $answers) {
            if (-not [IO.File]::Exists("$folder\$($answer.name)")) { $answer.skipped = 'not offered'; continue }
            Write-JobProgress -Percent 0 -Message "copying $($answer.name)"
            [IO.File]::Copy("$folder\$($answer.name)", "$staging\$($answer.name)", $true)
        }
    }
    for ($i = 0; $i -lt $answers.Count; $i++) {
        if ($null -ne $answers[$i].skipped) { continue }
        $path = "$staging\$($answers[$i].name)"
        $digest = Get-FileDigest -Path $path -Meter (New-ProgressMeter -Total (Get-FileLength -Path $path) -Message "hashing $($answers[$i].name)")
        if ($digest.sha256 -ne $files[$i].sha256) {
            throw (New-Failure -Id 'UpdateFileChanged' -Message "$($answers[$i].name) is not the file that was approved (SHA-256 $($digest.sha256), not $($files[$i].sha256)). Nothing was installed.")
        }
        $signature = Get-AuthenticodeSignature -FilePath $path
        $subject = 'nobody'
        if ($null -ne $signature.SignerCertificate) { $subject = [string]$signature.SignerCertificate.Subject }
        # By its organization: the CN is Microsoft Corporation on some, Microsoft Windows on others.
        if ([string]$signature.Status -ne 'Valid' -or $subject -cnotmatch '(^|, ?)O=Microsoft Corporation(,|$)') {
            throw (New-Failure -Id 'UpdateFileSignature' -Message "$($answers[$i].name) is not signed by Microsoft: its signature is $($signature.Status), its signer $subject. Nothing was installed. Take it out of the folder, or fetch it anew from the Microsoft Update Catalog.")
        }
    }
    $number = (Get-WindowsBuild).number
    $todo = @($answers | Where-Object { $null -eq $_.skipped })
    $done = 0
    foreach ($answer in $todo) {
        Write-JobProgress -Percent ([int][Math]::Floor(100 * $done / $todo.Count)) -Message "installing $($answer.name)"
        $done++
        $path = "$staging\$($answer.name)"
        $answer.tool = 'wusa'
        if ([IO.Path]::GetExtension($answer.name) -eq '.cab' -or $number -ge 26100) { $answer.tool = 'dism' }
        $arguments = @("`"$path`"", '/quiet', '/norestart')
        if ($answer.tool -eq 'dism') { $arguments = @('/Online', '/Add-Package', "/PackagePath:`"$path`"", '/Quiet', '/NoRestart') }
        $process = Start-Process -FilePath "$env:SystemRoot\System32\$($answer.tool).exe" -ArgumentList $arguments -Wait -PassThru
        $answer.exit_code = [int]$process.ExitCode
    }
}
finally {
    if ([IO.Directory]::Exists($staging)) { [IO.Directory]::Delete($staging, $true) }
}
Write-JobProgress -Percent 100 -Message "$($todo.Count) files installed"
[ordered]@{ reboot_required = Test-MachineKey -Key $pending; files = $answers }
