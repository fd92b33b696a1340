#Requires -Version 5.1
<#
.SYNOPSIS
Which of these processes still run.
.DESCRIPTION
An id is used again: the moment at which the process was started tells it from another. Touches nothing.
.PARAMETER processes
[{id, name, started (ISO 8601)}], as Install-Package has left them running.
.OUTPUTS
running: those of them that have not ended.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$processes
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$all = @(Get-CimInstance -ClassName Win32_Process | Where-Object { $null -ne $_.CreationDate })
$running = @(foreach ($one in $processes) {
        $started = ConvertFrom-IsoDate -Text $one.started
        # WMI and .NET round the moment each in its own way.
        $same = @($all | Where-Object { [long]$_.ProcessId -eq [long]$one.id -and [Math]::Abs(($_.CreationDate.ToUniversalTime() - $started).TotalSeconds) -lt 2 })
        if ($same.Count -gt 0) { [ordered]@{ id = [long]$one.id; name = [string]$one.name; started = [string]$one.started } }
    })
[ordered]@{ running = $running }
