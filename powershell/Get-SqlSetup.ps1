#Requires -Version 5.1
<#
.SYNOPSIS
What SQL Server's setup has left on this host: instances and their builds, services, a setup that runs, its summaries.
.DESCRIPTION
Beside what an engine says of itself it tells a whole patch from a half one. Touches nothing.
.PARAMETER since
ISO 8601: the summaries written since then; without it none are read.
.OUTPUTS
instances [{name, kind (SQL, OLAP, RS), id, build (PatchLevel, as 15.0.4430.1), edition}], services [{name, status,
start_mode}] of SQL Server, running [{id, name, path}] processes of setup, summaries [{path, written, text}] the newest
first.
#>
[CmdletBinding()]
param(
    [string]$since = ''
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# By name: what they are called for people is localized.
$ours = '^(MSSQLSERVER|MSSQL\$.+|SQLSERVERAGENT|SQLAgent\$.+|SQLBrowser|SQLWriter|MSSQLFDLauncher(\$.+)?|MSSQLLaunchpad(\$.+)?|MSSQLServerOLAPService|MSOLAP\$.+|ReportServer(\$.+)?|SQLServerReportingServices|PowerBIReportServer|MsDtsServer\d*|SQLTELEMETRY(\$.+)?|SSISTELEMETRY\d*|SSASTELEMETRY(\$.+)?)$'
$services = @(foreach ($service in @(Get-CimInstance -ClassName Win32_Service | Sort-Object -Property Name)) {
        if ($service.Name -match $ours) { [ordered]@{ name = $service.Name; status = $service.State -replace ' '; start_mode = $service.StartMode } }
    })
$summaries = @()
if ($since) { $summaries = @(Get-SetupSummary -Since (ConvertFrom-IsoDate -Text $since)) }
[ordered]@{ instances = @(Get-SqlInstance); services = $services; running = @(Get-SetupProcess); summaries = $summaries }
