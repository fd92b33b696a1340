#Requires -Version 5.1
<#
.SYNOPSIS
Installs exactly the updates named, and answers for each what the agent said. Starts no reboot.
.DESCRIPTION
Downloads come one by one. Those that want to be alone (impact 2, servicing stacks) are installed first, each by itself;
the others together, because after the first that wants a reboot the agent refuses a next installation. Nothing is
installed that is installed already or waits for a reboot.
.PARAMETER updates
[{id, revision}], in the order of the plan.
.PARAMETER criteria
What to look for them in.
.OUTPUTS
reboot_required, reboot_required_before (a reboot was pending: nothing was done), updates [{id, revision, title, offered,
skipped (null, "not offered", "installed already", "waits for a reboot", "reboot first"), download {result_code, hresult},
install {result_code, hresult, reboot_required}}]: result codes 2 succeeded, 3 with errors, 4 failed, 5 aborted, null where
the agent threw; hresult eight hexadecimal digits, 00000000 is success; download and install are null where not tried.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][object[]]$updates,
    [string]$criteria = "IsInstalled=0 and IsHidden=0 and Type='Software'",
    [int]$server_selection = 0,
    [string]$service_id = ''
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$session = New-Object -ComObject Microsoft.Update.Session
$searcher = Get-UpdateSearcher -Session $session -ServerSelection $server_selection -ServiceId $service_id
Write-JobProgress -Percent 0 -Message 'searching for the updates of the plan'
$offers = @(Read-ComList -Collection $searcher.Search($criteria).Updates)
$first = $session.CreateUpdateInstaller().RebootRequiredBeforeInstallation

$plan = @(foreach ($wanted in $updates) {
        $offer = @($offers | Where-Object { $_.Identity.UpdateID -eq $wanted.id -and $_.Identity.RevisionNumber -eq $wanted.revision })
        $answer = [ordered]@{ id = [string]$wanted.id; revision = [int]$wanted.revision; title = $null; offered = $offer.Count -gt 0; skipped = $null; download = $null; install = $null }
        $one = @{ answer = $answer; update = $null; alone = $false }
        if ($offer.Count -eq 0) {
            $answer.skipped = 'not offered'
            if ($searcher.Search("UpdateID='$($wanted.id)' and IsInstalled=1").Updates.Count -gt 0) { $answer.skipped = 'installed already' }
        }
        else {
            $one.update = $offer[0]
            $answer.title = [string]$offer[0].Title
            $one.alone = (Read-ComProperty -Of $offer[0] -Path 'InstallationBehavior.Impact') -eq 2
            if ($offer[0].RebootRequired) { $answer.skipped = 'waits for a reboot' }
            elseif ($first) { $answer.skipped = 'reboot first' }
        }
        $one
    })

$todo = @($plan | Where-Object { $null -eq $_.answer.skipped })
$step = 0
foreach ($one in $todo) {
    Write-JobProgress -Percent ([int][Math]::Floor(40 * $step / $todo.Count)) -Message "downloading $($one.answer.title)"
    $step++
    try {
        if (-not $one.update.EulaAccepted) { $one.update.AcceptEula() }
        if ($one.update.IsDownloaded) {
            $one.answer.download = [ordered]@{ result_code = 2; hresult = '00000000' }
            continue
        }
        $single = New-Object -ComObject Microsoft.Update.UpdateColl
        $null = $single.Add($one.update)
        $downloader = $session.CreateUpdateDownloader()
        $downloader.Updates = $single
        $said = $downloader.Download().GetUpdateResult(0)
        $one.answer.download = [ordered]@{ result_code = [int]$said.ResultCode; hresult = ConvertTo-HResultText -Code $said.HResult }
    }
    catch { $one.answer.download = [ordered]@{ result_code = $null; hresult = Get-FaultCode -Caught $_ } }
}

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
