#Requires -Version 5.1
<#
.SYNOPSIS
The policies that can keep a job's PowerShell from its work: asked where a job did not begin.
.DESCRIPTION
Touches nothing. Answers {language_mode (of this call, not of SYSTEM's tasks), execution_policy, scripts_enabled (both by
machine policy, null where none is set), app_locker (EnforcementMode of script rules: 0 audits, 1 enforces, null none),
code_integrity (UsermodeCodeIntegrityPolicyEnforcementStatus: 0 off, 1 audits, 2 enforces, null unknown)}.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$integrity = $null
try {
    $guard = @(Get-CimInstance -Namespace 'root\Microsoft\Windows\DeviceGuard' -ClassName Win32_DeviceGuard)
    if ($guard.Count -gt 0) { $integrity = [int]$guard[0].UsermodeCodeIntegrityPolicyEnforcementStatus }
}
catch {
    # Windows Server 2012 R2 has neither that class (0x80041010) nor its namespace (0x8004100E).
    if ($_.FullyQualifiedErrorId -notmatch '^HRESULT 0x800410(10|0E)') { throw }
}
$powershell = 'SOFTWARE\Policies\Microsoft\Windows\PowerShell'
[ordered]@{
    language_mode = [string]$ExecutionContext.SessionState.LanguageMode
    execution_policy = Get-MachineValue -Key $powershell -Name 'ExecutionPolicy'
    scripts_enabled = Get-MachineValue -Key $powershell -Name 'EnableScripts'
    app_locker = Get-MachineValue -Key 'SOFTWARE\Policies\Microsoft\Windows\SrpV2\Script' -Name 'EnforcementMode'
    code_integrity = $integrity
}
