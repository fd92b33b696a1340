#Requires -Version 5.1
<#
.SYNOPSIS
The build of an instance of SQL Server as its setup has left it in the registry.
.DESCRIPTION
Beside what the engine says of itself it tells a whole patch from a half one. Touches nothing.
.OUTPUTS
instance, build (PatchLevel, as 15.0.4430.1; null where there is no such instance).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$instance
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

[ordered]@{ instance = $instance; build = Get-InstanceBuild -Instance $instance }
