#Requires -Version 5.1
<#
.SYNOPSIS
Names the boot that this host runs in: the same answer twice means that it has not restarted in between.
.OUTPUTS
boot_id (made when it is first asked for, gone with the next boot).
#>
[CmdletBinding()] param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
[ordered]@{ boot_id = Initialize-BootId }
