#Requires -Version 5.1
<#
.SYNOPSIS
Removes backup files from this host once they are in the stores. Only files that look like backups.
.DESCRIPTION
A snapshot of ours that nobody reads any more goes too: an archive that was cut leaves one with its file.
.OUTPUTS
removed [{path, size}], absent [paths], failed [{path, error}].
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$paths
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$removed = @()
$absent = @()
$failed = @()
foreach ($path in $paths) {
    try {
        if ($path -notmatch '^[A-Za-z]:\\.+\.(zip|bak|partial)$' -or $path -match '[*?]|\\\.\.\\') { throw (New-Failure -Id 'NotABackup' -Message 'not a backup file of this host (drive:\...\name.zip, .bak or .partial): left alone') }
        if (-not [IO.File]::Exists($path)) {
            $absent += $path
            continue
        }
        $size = Get-FileLength -Path $path
        [IO.File]::Delete($path)
        $removed += [ordered]@{ path = $path; size = $size }
    }
    catch { $failed += [ordered]@{ path = $path; error = $_.Exception.GetBaseException().Message } }
}
$null = Clear-VolumeSnapshot
[ordered]@{ removed = $removed; absent = $absent; failed = $failed }
