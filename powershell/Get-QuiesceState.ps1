#Requires -Version 5.1
<#
.SYNOPSIS
What this host looked like before it was made quiet.
.OUTPUTS
quiesce: null, or {number, state ("open", "closed"), fence, opened, closed, services [{name, status, start_mode}],
sites [{name, state, pool, pool_state, check_binding, bindings}], held {section: what the caller recorded}}.
#>
[CmdletBinding()] param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

[ordered]@{ quiesce = Get-Quiesce }
