#Requires -Version 5.1
<#
.SYNOPSIS
Installs exactly the updates named, and answers for each what the agent said. Starts no reboot.
.DESCRIPTION
Downloads come one by one. Those that want to be alone (said so, or impact 2) are installed first, each by itself; the
others together, because after the first that wants a reboot the agent refuses a next installation. Nothing is installed
that is installed already or waits for a reboot. While another installation runs on this host it is waited for.
.PARAMETER updates
[{id, revision, alone}], in the order of the plan.
.PARAMETER source
Whom to ask for them, as for Find-WindowsUpdate.
.PARAMETER criteria
What to look for them in.
.PARAMETER accept_eulas
Whether license terms are accepted; else an update that asks for it is skipped.
.PARAMETER patience_seconds
How long another installation is waited for.
.OUTPUTS
reboot_required, reboot_required_before (a reboot was pending: nothing was done), updates [{id, revision, title, offered,
skipped (null, "not offered", "installed already", "waits for a reboot", "license terms", "reboot first"), download
{result_code, hresult}, install {result_code, hresult, reboot_required}}]: result codes 2 succeeded, 3 with errors,
4 failed, 5 aborted, null where the agent threw; hresult eight hexadecimal digits, 00000000 is success; download and install
are null where not tried.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][object[]]$updates,
    [Parameter(Mandatory = $true)][ValidateSet('wsus', 'windows-update', 'microsoft-update')][string]$source,
    [string]$criteria = "IsInstalled=0 and IsHidden=0 and Type='Software'",
    [bool]$accept_eulas = $false,
    [int]$patience_seconds = 600
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$session = New-Object -ComObject Microsoft.Update.Session
$searcher = Get-UpdateSearcher -Session $session -Source $source
Write-JobProgress -Percent 0 -Message 'searching for the updates of the plan'
$plan = @(Find-PlannedUpdate -Searcher $searcher -Criteria $criteria -Plan $updates -AcceptEulas $accept_eulas)
$first = $session.CreateUpdateInstaller().RebootRequiredBeforeInstallation
if ($first) {
    foreach ($one in @($plan | Where-Object { $null -eq $_.answer.skipped })) { $one.answer.skipped = 'reboot first' }
}

$todo = @($plan | Where-Object { $null -eq $_.answer.skipped })
Save-PlannedUpdate -Session $session -Todo $todo -Percent 40

$ready = @($todo | Where-Object { $_.answer.download.result_code -in @(2, 3) })
$groups = [Collections.Generic.List[object]]::new()
foreach ($one in @($ready | Where-Object { $_.alone })) { $groups.Add(@($one)) }
$together = @($ready | Where-Object { -not $_.alone })
if ($together.Count -gt 0) { $groups.Add($together) }
$step = 0
foreach ($group in $groups) {
    Write-JobProgress -Percent ([int](40 + [Math]::Floor(60 * $step / $ready.Count))) -Message "installing $(@($group | ForEach-Object { $_.answer.title }) -join ', ')"
    $step += @($group).Count
    try {
        $installer = $session.CreateUpdateInstaller()
        $patience_seconds = Wait-UpdateInstaller -Installer $installer -Seconds $patience_seconds
        if ($installer.RebootRequiredBeforeInstallation) {
            foreach ($one in $group) { $one.answer.skipped = 'reboot first' }
            continue
        }
        $collection = New-Object -ComObject Microsoft.Update.UpdateColl
        foreach ($one in $group) { $null = $collection.Add($one.update) }
        $installer.Updates = $collection
        # Nobody is there to answer a dialogue.
        $installer.ForceQuiet = $true
        $installer.AllowSourcePrompts = $false
        $all = $installer.Install()
        $i = 0
        foreach ($one in $group) {
            $said = $all.GetUpdateResult($i)
            $i++
            $one.answer.install = [ordered]@{ result_code = [int]$said.ResultCode; hresult = ConvertTo-HResultText -Code $said.HResult; reboot_required = [bool]$said.RebootRequired }
        }
    }
    catch {
        foreach ($one in $group) { $one.answer.install = [ordered]@{ result_code = $null; hresult = Get-FaultCode -Caught $_; reboot_required = $null } }
    }
}
$system = New-Object -ComObject Microsoft.Update.SystemInfo
Write-JobProgress -Percent 100 -Message "$($todo.Count) updates tried"
[ordered]@{ reboot_required = [bool]$system.RebootRequired; reboot_required_before = [bool]$first; updates = @($plan | ForEach-Object { $_.answer }) }
