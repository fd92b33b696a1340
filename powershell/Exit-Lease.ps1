#Requires -Version 5.1
<#
.SYNOPSIS
Gives the lease back; its number stays, so that the next run's is higher.
.DESCRIPTION
Answers {released, fence}: whether the host's lease is now free because of this run (also when it had been given back
before), and the number on the host. A lease with another number is left alone. 'finished' notes that the run has ended
well: a run whose lease does not say so can be resumed under its key.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$fence,
    [bool]$finished = $false
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Use-Lock -LockName 'lease' -Work {
    $lease = Get-Lease
    if ($null -eq $lease) { return [ordered]@{ released = $false; fence = 0 } }
    $own = $lease.fence -eq $fence
    if ($own -and -not $lease.released) {
        $lease.released = $true
        Add-Member -InputObject $lease -MemberType NoteProperty -Name 'finished' -Value $finished -Force
        Write-JsonFile -Path "$(Get-PatchingRoot)\lease.json" -Value $lease
    }
    [ordered]@{ released = $own; fence = $lease.fence }
}
