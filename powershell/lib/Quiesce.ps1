#Requires -Version 5.1
# What this host looked like before it was made quiet: quiesce.json. Written before anything is stopped or moved.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-Quiesce {
    <# .SYNOPSIS quiesce.json, or $null. #>
    $record = Read-JsonFile -Path "$(Get-PatchingRoot)\quiesce.json"
    # Nothing at all would become {} in an answer.
    if ($null -eq $record) { return $null }
    $record
}

function Open-Quiesce {
    <#
    .SYNOPSIS The record of quiesce $Number, or a fresh one, not yet written.
    .DESCRIPTION While an earlier quiesce is open its record is the only one of how the host was: it is never replaced.
    #>
    param([Parameter(Mandatory = $true)][int]$Number, [Parameter(Mandatory = $true)][int]$Fence)
    $record = Get-Quiesce
    if ($null -eq $record -or ($record.state -eq 'closed' -and $record.number -lt $Number)) {
        return [pscustomobject][ordered]@{
            number = $Number; state = 'open'; fence = $Fence; opened = Get-IsoNow; closed = $null
            services = @(); sites = @(); held = [pscustomobject]@{}
        }
    }
    if ($record.state -eq 'closed') {
        throw (New-Failure -Id 'QuiesceClosed' -Message "Refused: quiesce $($record.number) has been brought back on this host, and $Number is not after it. Take the next number.")
    }
    if ($record.number -ne $Number) {
        throw (New-Failure -Id 'QuiesceOpen' -Message "Refused: quiesce $($record.number) is still open on this host, so $Number cannot be worked on. Bring the host back first.")
    }
    $record
}

function Update-Quiesce {
    <# .SYNOPSIS Changes the record of quiesce $Number by a block that is given it, writes it, and answers with it. #>
    param([Parameter(Mandatory = $true)][int]$Number, [Parameter(Mandatory = $true)][int]$Fence, [Parameter(Mandatory = $true)][ScriptBlock]$Change)
    Use-Lock -LockName 'quiesce' -Work {
        # Again, under the lock: the lease may have been taken over since the caller looked.
        Assert-Fence -Fence $Fence
        $record = Open-Quiesce -Number $Number -Fence $Fence
        $null = & $Change $record
        $record.fence = $Fence
        Write-JsonFile -Path "$(Get-PatchingRoot)\quiesce.json" -Value $record
        $record
    }
}
