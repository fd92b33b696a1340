#Requires -Version 5.1
<#
.SYNOPSIS
Recycles the application pools of sites, or starts those that are stopped.
.DESCRIPTION
An application that came up before its database was ready remembers the failure until its pool is recycled.
.OUTPUTS
pools [{name, before, after}]; missing: names of sites that are not there. A recycle goes on after the answer.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$sites,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$facts = @($sites | ForEach-Object { Get-SiteFact -SiteName $_ })
$pools = foreach ($pool in @($facts | Where-Object { $_.exists } | ForEach-Object { $_.pool } | Select-Object -Unique)) {
    $before = Get-PoolState -PoolName $pool
    if ($before -eq 'Started') { Restart-WebAppPool -Name $pool }
    else { Start-WebAppPool -Name $pool }
    [ordered]@{ name = $pool; before = $before; after = Get-PoolState -PoolName $pool }
}
[ordered]@{ pools = @($pools); missing = @($facts | Where-Object { -not $_.exists } | ForEach-Object { $_.name }) }
