#Requires -Version 5.1
<#
.SYNOPSIS
Opens quiesce number N on this host, records what the caller is about to hold, or closes it when all is back.
.DESCRIPTION
A section of `held` (for example the Agent jobs that were enabled) is recorded once per number: after a crash the caller
would see its own work, not the earlier state. Compare the answer with what was sent.
.PARAMETER from
Goes on with the open record of this number under `number`, where it is still open: what it tells of the host from
before stays, but for the sections that `forget` names. Where nothing that was begun stays, it is opened anew: what the
event logs have told in between is not of this night. 0: with none.
.PARAMETER forget
Sections that are removed, in the same write that records `held`.
.PARAMETER state
"open" or "closed". A closed number does not open again.
.PARAMETER held
{section: value}, or null.
.OUTPUTS
quiesce: as Get-QuiesceState answers.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$number,
    [Parameter(Mandatory = $true)][int]$fence,
    [ValidateSet('open', 'closed')][string]$state = 'open',
    $held,
    [int]$from = 0,
    [AllowEmptyCollection()][string[]]$forget = @()
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$before = Get-Quiesce
if ($state -eq 'closed' -and ($null -eq $before -or ($before.number -eq $number -and $before.state -eq 'closed'))) {
    return [ordered]@{ quiesce = $before }
}
$note = {
    param($record)
    foreach ($section in $forget) { $record.held.PSObject.Properties.Remove($section) }
    if ($null -ne $held) {
        $recorded = @($record.held.PSObject.Properties | ForEach-Object { $_.Name })
        foreach ($section in @($held.PSObject.Properties)) {
            if ($recorded -notcontains $section.Name) { Add-Member -InputObject $record.held -MemberType NoteProperty -Name $section.Name -Value $section.Value }
        }
    }
}
if ($from -gt 0) {
    Use-Lock -LockName 'quiesce' -Work {
        $record = Get-Quiesce
        if ($null -ne $record -and $record.state -eq 'open' -and $record.number -eq $from) {
            $record.number = $number
            # In one write: what belongs to the old number alone is never seen under the new one.
            $null = & $note $record
            if (@($record.held.PSObject.Properties | Where-Object { Test-BegunSection -Section $_.Name }).Count -eq 0) { $record.opened = Get-IsoNow }
            Write-JsonFile -Path "$(Get-PatchingRoot)\quiesce.json" -Value $record
        }
    }
}
$after = Update-Quiesce -Number $number -Fence $fence -Change {
    param($record)
    $null = & $note $record
    if ($state -eq 'closed') {
        $record.state = 'closed'
        $record.closed = Get-IsoNow
    }
}
[ordered]@{ quiesce = $after }
