#Requires -Version 5.1
<#
.SYNOPSIS
Prolongs the lease of the run that carries this fence.
.DESCRIPTION
Answers {granted, fence, holder, key, taken, expires}. Not granted, with the lease as it is, when the lease carries
another number, was released, or is absent (then fence is 0 and the rest null). A lease that has run out is renewed as
long as nobody else took it.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][int]$fence,
    [Parameter(Mandatory = $true)][int]$seconds
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Use-Lock -LockName 'lease' -Work {
    $lease = Get-Lease
    if ($null -eq $lease) {
        return [ordered]@{ granted = $false; fence = 0; holder = $null; key = $null; taken = $null; expires = $null }
    }
    $granted = $lease.fence -eq $fence -and -not $lease.released
    if ($granted) {
        $now = [datetime]::UtcNow
        $lease.expires = ConvertTo-IsoDate -Date $now.AddSeconds($seconds)
        # Add-Member: a lease that an older version wrote has no such field.
        Add-Member -InputObject $lease -MemberType NoteProperty -Name 'renewed' -Value (ConvertTo-IsoDate -Date $now) -Force
        Write-JsonFile -Path "$(Get-PatchingRoot)\lease.json" -Value $lease
    }
    [ordered]@{ granted = $granted; fence = $lease.fence; holder = $lease.holder; key = $lease.key; taken = $lease.taken; expires = $lease.expires }
}
