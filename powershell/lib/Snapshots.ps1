#Requires -Version 5.1
# Snapshots of a volume, through which files are read that others have open. Made for one job; a record of each lies in
# snapshots\ below the root, so that what a job that was cut has left is deleted by its id, and nobody else's ever is.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-SnapshotFolder {
    <# .SYNOPSIS Where the records and the links to the snapshots lie. One that somebody else has made is refused. #>
    $folder = "$(Get-PatchingRoot)\snapshots"
    if ([IO.Directory]::Exists($folder)) {
        $fault = Get-FolderFault -Path $folder
        if ($null -ne $fault) { throw $fault }
    }
    $folder
}

function Request-VolumeSnapshot {
    <#
    .SYNOPSIS Has Windows make a snapshot of a drive; its id, or an error that says why there is none.
    .DESCRIPTION ClientAccessible: without writers, so that SQL Server is not frozen for it. Such a snapshot persists.
    #>
    param([Parameter(Mandatory = $true)][string]$Drive)
    $meanings = @('', 'access denied', 'invalid argument', 'volume not found', 'volume not supported', 'context not supported',
        'insufficient storage', 'volume in use', 'maximum number reached', 'another snapshot is being made', 'provider vetoed',
        'provider not registered', 'provider failure', 'unknown error')
    # Other backups of this host make theirs at the same time, and Windows makes one after the other.
    for ($try = 1; ; $try++) {
        $answer = Invoke-CimMethod -ClassName Win32_ShadowCopy -MethodName Create -Arguments @{ Volume = "$Drive\"; Context = 'ClientAccessible' } -OperationTimeoutSec 300
        $code = [long]$answer.ReturnValue
        if ($code -eq 0) { return $answer.ShadowID }
        if ($code -ne 9 -or $try -ge 60) { break }
        Start-Sleep -Seconds 2
    }
    $meaning = "error $code"
    if ($code -lt $meanings.Count) { $meaning = $meanings[$code] }
    throw (New-Failure -Id 'NoSnapshot' -Message $meaning)
}

function Find-VolumeSnapshot {
    <# .SYNOPSIS A snapshot by its id, nothing where there is none; a service that hangs is waited for no longer than whoever asks. #>
    param([Parameter(Mandatory = $true)][string]$Id)
    Get-CimInstance -ClassName Win32_ShadowCopy -Filter "ID='$Id'" -OperationTimeoutSec 20
}

function New-VolumeSnapshot {
    <#
    .SYNOPSIS A snapshot of a folder's drive: {id, path (the folder as it was), remark, held}. It never fails.
    .DESCRIPTION Without one id is $null, path is the folder itself, and remark says why. The record is in use while its
    maker has it open (held): the handle says so, not the file's being there.
    #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $snapshot = @{ id = $null; path = $Path; remark = $null; held = $null }
    $drive = $Path.Substring(0, 2)
    try {
        for ($above = $Path; $above.Length -gt 3; $above = [IO.Path]::GetDirectoryName($above)) {
            if ([IO.File]::GetAttributes((ConvertTo-LongPath -Path $above)) -band [IO.FileAttributes]::ReparsePoint) {
                $snapshot.remark = "$above is a link, which a snapshot of $drive does not hold: open files were read as they are"
                return $snapshot
            }
        }
        $folder = Get-SnapshotFolder
        $null = [IO.Directory]::CreateDirectory($folder)
        $link = "$folder\$([guid]::NewGuid())"
        $snapshot.held = [IO.File]::Open("$link.json", [IO.FileMode]::CreateNew, [IO.FileAccess]::ReadWrite, [IO.FileShare]::None)
        # Room for the id, whose record no full disk may keep from being written.
        $snapshot.held.SetLength(256)
        $id = Request-VolumeSnapshot -Drive $drive
        # On the disk before anything is done with it: from here on whoever comes can delete it.
        $bytes = (New-Object Text.UTF8Encoding($false)).GetBytes((ConvertTo-Json -InputObject ([ordered]@{ id = $id; drive = $drive }) -Depth 2 -Compress))
        $snapshot.held.Write($bytes, 0, $bytes.Length)
        $snapshot.held.SetLength($bytes.Length)
        $snapshot.held.Flush($true)
        $device = @(Find-VolumeSnapshot -Id $id)[0].DeviceObject
        # New-Item of 5.1 makes no link to a device; without the last backslash it would lead to the device, not to its files.
        $made = Invoke-Native -File 'cmd.exe' -Arguments @('/c', 'mklink', '/d', $link, "$device\")
        $there = $link + $Path.Substring(2)
        if ($made.code -ne 0) { throw (New-Failure -Id 'NoLink' -Message "mklink says $($made.text)") }
        if (-not [IO.Directory]::Exists((ConvertTo-LongPath -Path $there))) { throw (New-Failure -Id 'NotInSnapshot' -Message "$Path is not in it") }
        $snapshot.id = $id
        $snapshot.path = $there
    }
    catch {
        $snapshot.remark = "Windows makes no snapshot of $drive ($($_.Exception.GetBaseException().Message.Trim().TrimEnd('.'))): open files were read as they are"
        $null = Close-VolumeSnapshot -Snapshot $snapshot
    }
    $snapshot
}

function Close-VolumeSnapshot {
    <# .SYNOPSIS Lets go of a snapshot and deletes it, as all that nobody holds; answers as Clear-VolumeSnapshot. #>
    param([Parameter(Mandatory = $true)][hashtable]$Snapshot)
    if ($null -ne $Snapshot.held) { $Snapshot.held.Dispose() }
    $Snapshot.held = $null
    Clear-VolumeSnapshot
}

function Clear-VolumeSnapshot {
    <#
    .SYNOPSIS Deletes every snapshot of ours that nobody holds; a sentence for each that stays. It never fails.
    .DESCRIPTION One that cannot be deleted keeps its record for the next time.
    #>
    try {
        $folder = Get-SnapshotFolder
        if (-not [IO.Directory]::Exists($folder)) { return }
        $records = [IO.Directory]::GetFiles($folder, '*.json')
    }
    catch { return "the snapshots of earlier backups cannot be looked for ($($_.Exception.GetBaseException().Message.TrimEnd('.')))" }
    foreach ($record in $records) {
        try { $stream = [IO.File]::Open($record, [IO.FileMode]::Open, [IO.FileAccess]::ReadWrite, [IO.FileShare]::Delete) }
        catch {
            # Its maker has it open, or another job is at it, or it has just gone.
            continue
        }
        $what = [IO.Path]::GetFileName($record)
        try {
            $link = $record.Substring(0, $record.Length - 5)
            # Of the link alone: nothing is ever deleted through it. Exists and Delete do not follow it.
            if ([IO.Directory]::Exists($link)) { [IO.Directory]::Delete($link) }
            # Without an id where its maker died before Windows had made one.
            $text = (New-Object IO.StreamReader($stream)).ReadToEnd()
            if ($text -match '"id":"(?<id>\{[0-9A-Fa-f-]{36}\})"') {
                $what = $Matches.id
                Find-VolumeSnapshot -Id $what | Remove-CimInstance -OperationTimeoutSec 20
            }
            [IO.File]::Delete($record)
        }
        catch { "the snapshot $what could not be deleted ($($_.Exception.GetBaseException().Message.Trim().TrimEnd('.'))): the next backup tries again" }
        finally { $stream.Dispose() }
    }
}

function Test-VolumeSnapshot {
    <#
    .SYNOPSIS Whether a snapshot is still there: Windows drops them when their storage is full.
    .DESCRIPTION One that cannot be asked for counts as there, so that whoever asks keeps the error that made them ask.
    #>
    param([Parameter(Mandatory = $true)][string]$Id)
    try { @(Find-VolumeSnapshot -Id $Id).Count -gt 0 }
    catch { $true }
}
