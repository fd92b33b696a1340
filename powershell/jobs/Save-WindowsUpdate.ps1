#Requires -Version 5.1
<#
.SYNOPSIS
Downloads exactly the updates named, ahead of the night that installs them. Installs nothing, touches nothing else.
.PARAMETER updates
[{id, revision, alone}], those of the plan.
.PARAMETER source
Whom to ask for them, as for Find-WindowsUpdate.
.PARAMETER criteria
What to look for them in.
.PARAMETER accept_eulas
Whether license terms are accepted; else an update that asks for it is skipped.
.OUTPUTS
updates [{id, revision, title, offered, skipped, download {result_code, hresult}}], as Install-WindowsUpdate answers.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][object[]]$updates,
    [Parameter(Mandatory = $true)][ValidateSet('wsus', 'windows-update', 'microsoft-update')][string]$source,
    [string]$criteria = "IsInstalled=0 and IsHidden=0 and Type='Software'",
    [bool]$accept_eulas = $false
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$session = New-Object -ComObject Microsoft.Update.Session
$searcher = Get-UpdateSearcher -Session $session -Source $source
Write-JobProgress -Percent 0 -Message 'searching for the updates of the plan'
$plan = @(Find-PlannedUpdate -Searcher $searcher -Criteria $criteria -Plan $updates -AcceptEulas $accept_eulas)
$todo = @($plan | Where-Object { $null -eq $_.answer.skipped })
Save-PlannedUpdate -Session $session -Todo $todo -Percent 100
Write-JobProgress -Percent 100 -Message "$($todo.Count) updates downloaded"
[ordered]@{ updates = @($plan | ForEach-Object { $_.answer.Remove('install'); $_.answer }) }
