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
$names = @($sites)
if ($names.Count -eq 0) { $names = @($recorded | ForEach-Object { $_.name }) }
$failed = @(Open-Site -SiteNames $names -Recorded $recorded)
if ($failed.Count -gt 0) { throw (New-Failure -Id 'SiteNotStarted' -Message "Sites have their bindings back and do not start: $($failed -join '; '). Look at the services W3SVC and WAS, then call again.") }
Get-IisFact -SiteNames $names
