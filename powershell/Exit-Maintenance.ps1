#Requires -Version 5.1
<#
.SYNOPSIS
Opens sites to the public again: each gets back the bindings that quiesce.json recorded, and starts if it was started.
.DESCRIPTION
Can be called again after a crash. One that does not start does not keep the others closed. A site that is gone since keeps its bindings on the maintenance page, which stays as
long as it holds any, and is removed with the last.
.PARAMETER sites
Names; empty: every recorded site.
.OUTPUTS
As Get-IisState answers for these sites, after the fact.
#>
[CmdletBinding()]
param(
    [AllowEmptyCollection()][string[]]$sites = @(),
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$recorded = @()
$quiesce = Get-Quiesce
if ($null -ne $quiesce) { $recorded = @($quiesce.sites) }
$maintenance = Get-MaintenanceName
$names = @($sites)
if ($names.Count -eq 0) { $names = @($recorded | ForEach-Object { $_.name }) }
$present = @($recorded | Where-Object { $names -contains $_.name -and $null -ne (Get-IisSite -SiteName $_.name) })
# Addresses first, for all of them: that needs no running service.
foreach ($known in $present) {
    foreach ($binding in @($known.bindings)) { Move-SiteBinding -From $maintenance -To $known.name -Binding $binding }
}
$page = Get-IisSite -SiteName $maintenance
if ($null -ne $page -and @(Get-BindingFact -Site $page | Where-Object { $_.host -ne (Get-PlaceholderName) }).Count -eq 0) {
    Remove-Website -Name $maintenance
    if ($null -ne (Get-PoolState -PoolName $maintenance)) { Remove-WebAppPool -Name $maintenance }
}
$failed = @()
foreach ($known in $present) {
    $pool = ''
    $site = ''
    if ($known.pool_state -eq 'Started') { $pool = $known.pool }
    if ($known.state -eq 'Started') { $site = $known.name }
    try { Start-SiteAndPool -SiteName $site -PoolName $pool }
    catch { $failed += "$($known.name): $($_.Exception.GetBaseException().Message)" }
}
if ($failed.Count -gt 0) { throw (New-Failure -Id 'SiteNotStarted' -Message "Sites have their bindings back and do not start: $($failed -join '; '). Look at the services W3SVC and WAS, then call again.") }
Get-IisFact -SiteNames $names
