#Requires -Version 5.1
<#
.SYNOPSIS
Sites, pools and bindings of IIS.
.OUTPUTS
sites [{name, exists, id, state, path, pool, pool_state, bindings [{protocol, information, host, certificate_hash,
certificate_store, ssl_flags}]}], in the order asked; maintenance {exists, state, bindings}. A state is "Started",
"Stopped", "Starting", "Stopping", or "Unknown" while the web server's services are down.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$sites
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Get-IisFact -SiteNames $sites
