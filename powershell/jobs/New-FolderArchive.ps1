#Requires -Version 5.1
<#
.SYNOPSIS
Packs a folder into one ZIP file: everything in it, empty folders too, or it fails naming what it could not read.
.DESCRIPTION
Read through a snapshot of its drive, so that files are packed that others have open or lock. Where Windows makes none,
the files are read as they are (sharing violations name the file), and the remark says so. Folders that are links
(junctions) are not followed and are listed. app_offline.htm is left out: restored, it would close the site. The archive
appears under its name when it is complete.
.PARAMETER exclude
Wildcards for names or paths below the folder ("*.log", "cache\*").
.PARAMETER snapshot
No: no snapshot is asked for.
.OUTPUTS
path, sha256, size, files, bytes (of the files, unpacked), links [folders not followed], snapshot (whether it was read
through one), remark (what people should know of that, or null).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$source,
    [Parameter(Mandatory = $true)][string]$destination,
    [AllowEmptyCollection()][string[]]$exclude = @(),
    [bool]$snapshot = $true
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
Add-Type -AssemblyName System.IO.Compression

$source = $source.TrimEnd('\')
$temporary = "$destination.partial"
if (-not [IO.Directory]::Exists((ConvertTo-LongPath -Path $source))) {
    throw (New-Failure -Id 'FolderMissing' -Message "$env:COMPUTERNAME has no folder $source. Correct backup.folders in the estate file.")
}
$patterns = @('app_offline.htm') + @($exclude)

function Read-Folder {
    <# .SYNOPSIS What there is below the source, read at $At: files with their names in the archive, empty folders, links. #>
    param([Parameter(Mandatory = $true)][string]$At)
    $folders = [Collections.Generic.List[string]]::new()
    $files = [Collections.Generic.List[object]]::new()
    $links = [Collections.Generic.List[string]]::new()
    $pending = [Collections.Generic.Stack[string]]::new()
    $pending.Push('')
    $bytes = 0L
    Write-JobProgress -Percent 0 -Message "reading $source"
    while ($pending.Count -gt 0) {
        $below = $pending.Pop()
        $here = ConvertTo-LongPath -Path "$At$below"
        $inside = 0
        foreach ($kind in @('folder', 'file')) {
            if ($kind -eq 'folder') { $names = [IO.Directory]::GetDirectories($here) } else { $names = [IO.Directory]::GetFiles($here) }
            foreach ($full in $names) {
                $leaf = [IO.Path]::GetFileName($full)
                $relative = "$below\$leaf"
                $path = "$source$relative"
                if (@($patterns | Where-Object { $leaf -like $_ -or $relative.Substring(1) -like $_ }).Count -gt 0 -or $path -in @($destination, $temporary)) { continue }
                $inside++
                if ($kind -eq 'file') {
                    try { $length = Get-FileLength -Path "$At$relative" }
                    catch {
                        throw (New-Failure -Id 'FileUnreadable' -Message "$path cannot be read: $($_.Exception.GetBaseException().Message.TrimEnd('.')). Stop what holds it, then run again.")
                    }
                    $bytes += $length
                    $files.Add([pscustomobject]@{ path = "$At$relative"; name = $relative.Substring(1).Replace('\', '/') })
                }
                elseif ([IO.File]::GetAttributes((ConvertTo-LongPath -Path "$At$relative")) -band [IO.FileAttributes]::ReparsePoint) { $links.Add($path) }
                else { $pending.Push($relative) }
            }
        }
        if ($inside -eq 0 -and $below -ne '') { $folders.Add($below.Substring(1).Replace('\', '/') + '/') }
    }
    @{ folders = $folders; files = $files; links = $links; bytes = $bytes }
}

function Save-Archive {
    <# .SYNOPSIS Packs the source, read at $At; what Read-Folder found, with the digest of the archive. #>
    param([Parameter(Mandatory = $true)][string]$At)
    $content = Read-Folder -At $At
    # Room for it, should nothing in it get smaller.
    if ($destination -match '^[A-Za-z]:') {
        $free = (New-Object IO.DriveInfo($destination.Substring(0, 1))).AvailableFreeSpace
        if ($free -lt $content.bytes) {
            throw (New-Failure -Id 'NoRoom' -Message "no space on $($destination.Substring(0, 2)) for the archive of $source (needs $(ConvertTo-SizeText -Bytes $content.bytes), has $(ConvertTo-SizeText -Bytes $free)). Free space, or set backup.staging.")
        }
    }
    $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($destination))
    $meter = New-ProgressMeter -Total (2 * $content.bytes) -Message "packing $source"
    try {
        $stream = [IO.File]::Open($temporary, [IO.FileMode]::Create, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None)
        try {
            $zip = New-Object IO.Compression.ZipArchive($stream, [IO.Compression.ZipArchiveMode]::Create, $true)
            try {
                foreach ($folder in $content.folders) { $null = $zip.CreateEntry($folder) }
                foreach ($file in $content.files) {
                    $entry = $zip.CreateEntry($file.name, [IO.Compression.CompressionLevel]::Fastest)
                    $changed = [IO.File]::GetLastWriteTime((ConvertTo-LongPath -Path $file.path))
                    # ZIP knows the years 1980 to 2107.
                    if ($changed.Year -ge 1980 -and $changed.Year -le 2107) { $entry.LastWriteTime = $changed }
                    $from = Open-SharedRead -Path $file.path
                    try {
                        $to = $entry.Open()
                        try { $null = Copy-Stream -From $from -To $to -Meter $meter }
                        finally { $to.Dispose() }
                    }
                    finally { $from.Dispose() }
                }
            }
            finally { $zip.Dispose() }
            $stream.Flush($true)
        }
        finally { $stream.Dispose() }
        $meter.message = "hashing $destination"
        $digest = Get-FileDigest -Path $temporary -Meter $meter
        if ([IO.File]::Exists($destination)) { [IO.File]::Delete($destination) }
        [IO.File]::Move($temporary, $destination)
    }
    finally {
        if ([IO.File]::Exists($temporary)) { [IO.File]::Delete($temporary) }
    }
    $content.digest = $digest
    $content
}

# What an earlier job that was cut has left fills the storage of the next snapshot.
$null = Clear-VolumeSnapshot
$taken = @{ id = $null; path = $source; remark = $null; held = $null }
if ($snapshot -and $source -match '^[A-Za-z]:') { $taken = New-VolumeSnapshot -Path $source }
try {
    try { $packed = Save-Archive -At $taken.path }
    catch {
        if ($null -eq $taken.id -or (Test-VolumeSnapshot -Id $taken.id)) { throw }
        $null = Close-VolumeSnapshot -Snapshot $taken
        $taken.id = $null
        $taken.remark = "Windows dropped the snapshot of $($source.Substring(0, 2)) while it was read, as it does when their storage is full: open files were read as they are"
        $packed = Save-Archive -At $source
    }
}
finally { $left = @(Close-VolumeSnapshot -Snapshot $taken) }
$remarks = @(@($taken.remark) + $left | Where-Object { $_ })
$remark = $null
if ($remarks.Count -gt 0) { $remark = $remarks -join '; ' }
Write-JobProgress -Percent 100 -Message "packed $($packed.files.Count) files"
[ordered]@{
    path = $destination
    sha256 = $packed.digest.sha256
    size = $packed.digest.size
    files = $packed.files.Count
    bytes = $packed.bytes
    links = @($packed.links.ToArray())
    snapshot = $null -ne $taken.id
    remark = $remark
}
