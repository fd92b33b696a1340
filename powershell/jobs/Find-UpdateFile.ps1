#Requires -Version 5.1
<#
.SYNOPSIS
What lies in a folder of Windows updates (.msu, .cab), what is installed on this host, and the build that it runs.
.PARAMETER folder
On the host, or on a share.
.PARAMETER hash
Whether the files are read for their SHA-256; they may be large.
.PARAMETER secrets
For a share: "share.username", "share.password".
.OUTPUTS
files [{name, size, sha256 (null unless asked for)}] by name, hotfixes (KB numbers that Windows lists as installed),
build {number, ubr (null when unknown)}.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$folder,
    [bool]$hash = $true,
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$files = @(Use-Share -Path $folder -Secrets $secrets -Key 'share' -Work {
        if (-not [IO.Directory]::Exists($folder)) { throw (New-Failure -Id 'FolderMissing' -Message "$env:COMPUTERNAME finds no folder $folder. Correct updates.source, or make the folder.") }
        $paths = @([IO.Directory]::GetFiles($folder) | Where-Object { [IO.Path]::GetExtension($_) -in @('.msu', '.cab') } | Sort-Object)
        $done = 0
        foreach ($path in $paths) {
            Write-JobProgress -Percent ([int][Math]::Floor(100 * $done / $paths.Count)) -Message "reading $([IO.Path]::GetFileName($path))"
            $done++
            $size = Get-FileLength -Path $path
            $sha256 = $null
            if ($hash) { $sha256 = (Get-FileDigest -Path $path -Meter (New-ProgressMeter -Total $size -Message "reading $([IO.Path]::GetFileName($path))")).sha256 }
            [ordered]@{ name = [IO.Path]::GetFileName($path); size = $size; sha256 = $sha256 }
        }
    })
$hotfixes = @(Get-CimInstance -ClassName Win32_QuickFixEngineering | ForEach-Object { [string]$_.HotFixID } | Where-Object { $_ -match '^KB\d+$' } | Sort-Object -Unique)
Write-JobProgress -Percent 100 -Message "$($files.Count) files"
[ordered]@{ files = $files; hotfixes = $hotfixes; build = Get-WindowsBuild }
