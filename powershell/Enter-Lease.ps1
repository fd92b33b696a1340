#Requires -Version 5.1
<#
.SYNOPSIS
Takes the host's lease for one run, or says who holds it.
.DESCRIPTION
Answers {granted, fence, holder, key, taken, expires} as lease.json then reads (but for 'granted'). The fence only ever
grows: a new holder gets the next number, or the one asked for when that is higher (a run takes the highest of all its
hosts). The same holder keeps its number and its lease is prolonged. A lease held by another is refused while it has not
expired, unless 'force' takes it over (recover): whoever held it then fails at its next act. 'holder' names one process
of one run, 'key' the run. Times are this host's clock.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$holder,
    [Parameter(Mandatory = $true)][string]$key,
    [int]$fence = 0,
    [Parameter(Mandatory = $true)][int]$seconds,
    [bool]$force = $false
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Use-Lock -LockName 'lease' -Work {
    $now = [datetime]::UtcNow
    $lease = Get-Lease
    $live = $null -ne $lease -and -not $lease.released -and (ConvertFrom-IsoDate -Text $lease.expires) -gt $now
    $own = $live -and $lease.holder -ceq $holder -and $lease.key -ceq $key
    if ($live -and -not $own -and -not $force) {
        return [ordered]@{ granted = $false; fence = $lease.fence; holder = $lease.holder; key = $lease.key; taken = $lease.taken; expires = $lease.expires }
    }
    $next = 1
    if ($null -ne $lease) { $next = $lease.fence + 1 }
    $taken = ConvertTo-IsoDate -Date $now
    if ($own) {
        $next = $lease.fence
        $taken = $lease.taken
    }
    $next = [Math]::Max($next, $fence)
    $expires = ConvertTo-IsoDate -Date $now.AddSeconds($seconds)
    Write-JsonFile -Path "$(Get-PatchingRoot)\lease.json" -Value ([ordered]@{
            fence = $next; holder = $holder; key = $key; taken = $taken; renewed = ConvertTo-IsoDate -Date $now; expires = $expires; released = $false; finished = $false
        })
    [ordered]@{ granted = $true; fence = $next; holder = $holder; key = $key; taken = $taken; expires = $expires }
}
