#Requires -Version 5.1
# Windows Update Agent. Its objects lack properties, its collections have no index, its dates are UTC and do not say so.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function ConvertTo-HResultText {
    <# .SYNOPSIS -2145124318 as '80240022', whatever way it came. #>
    param([Parameter(Mandatory = $true)][long]$Code)
    # The L: without it the mask is -1 and does nothing.
    '{0:X8}' -f ($Code -band 0xFFFFFFFFL)
}

function Read-ComList {
    <# .SYNOPSIS The items of a COM collection. #>
    param([Parameter(Mandatory = $true)]$Collection)
    for ($i = 0; $i -lt $Collection.Count; $i++) { $Collection.Item($i) }
}

function Get-WsusServer {
    <# .SYNOPSIS The WSUS server that policy sets this host to, or $null. #>
    $policy = 'SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate'
    if ((Get-MachineValue -Key "$policy\AU" -Name 'UseWUServer') -ne 1) { return $null }
    Get-MachineValue -Key $policy -Name 'WUServer'
}

function Get-WindowsBuild {
    <# .SYNOPSIS {number, ubr} of Windows; $null for what it does not say. #>
    $windows = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $number = Get-MachineValue -Key $windows -Name 'CurrentBuildNumber'
    if ($null -ne $number) { $number = [int]$number }
    [ordered]@{ number = $number; ubr = Get-MachineValue -Key $windows -Name 'UBR' }
}

function Get-UpdateSearcher {
    <# .SYNOPSIS A searcher on the source that was asked for: scan, download and install use the same. #>
    param([Parameter(Mandatory = $true)]$Session, [Parameter(Mandatory = $true)][string]$Source)
    $Session.ClientApplicationID = 'EngageIP patching'
    $searcher = $Session.CreateUpdateSearcher()
    $selections = @{ 'wsus' = 1; 'windows-update' = 2; 'microsoft-update' = 3 }
    $searcher.ServerSelection = $selections[$Source]
    if ($Source -eq 'wsus' -and -not (Get-WsusServer)) {
        throw (New-Failure -Id 'NoWsus' -Message "$env:COMPUTERNAME is set to no WSUS server (policies UseWUServer and WUServer). Say updates.source: windows-update or microsoft-update, or give the host its policy.")
    }
    if ($Source -eq 'microsoft-update') {
        $service = '7971f918-a847-4430-9279-4a52d1efe18d'
        $manager = New-Object -ComObject Microsoft.Update.ServiceManager
        # 2: registered at once, and not made the source of automatic updates.
        if (@(Read-ComList -Collection $manager.Services | Where-Object { $_.ServiceID -eq $service }).Count -eq 0) { $null = $manager.AddService2($service, 2, '') }
        $searcher.ServiceID = $service
    }
    $searcher
}

function Get-UpdateHistory {
    <# .SYNOPSIS What the agent remembers of its last installations, the newest first; $null where it throws, which it does. #>
    param([Parameter(Mandatory = $true)]$Searcher, [int]$Most = 50)
    try {
        $count = [Math]::Min($Searcher.GetTotalHistoryCount(), $Most)
        # None asked for is an error to it.
        if ($count -le 0) { return , @() }
        , @(Read-ComList -Collection $Searcher.QueryHistory(0, $count) | Where-Object { $_.Operation -eq 1 } | ForEach-Object {
                [ordered]@{
                    id = [string]$_.UpdateIdentity.UpdateID; revision = [int]$_.UpdateIdentity.RevisionNumber; result_code = [int]$_.ResultCode
                    hresult = ConvertTo-HResultText -Code $_.HResult; at = ConvertTo-IsoDate -Date ([datetime]::SpecifyKind($_.Date, [DateTimeKind]::Utc))
                }
            })
    }
    catch { $null }
}

function Get-InstalledUpdate {
    <#
    .SYNOPSIS What the agent says is in, by what it knows without asking anybody: {installed [{id, revision}], superseded [id]}.
    .DESCRIPTION It leaves out what something else that is in supersedes: that is told as superseded. Both $null where it throws.
    #>
    param([Parameter(Mandatory = $true)]$Searcher)
    try {
        $Searcher.Online = $false
        $found = @(Read-ComList -Collection $Searcher.Search('IsInstalled=1').Updates)
        $superseded = @(foreach ($update in $found) {
                $ids = Read-ComProperty -Of $update -Path 'SupersededUpdateIDs'
                if ($null -ne $ids) { Read-ComList -Collection $ids }
            })
        [ordered]@{
            installed = @($found | ForEach-Object { [ordered]@{ id = [string]$_.Identity.UpdateID; revision = [int]$_.Identity.RevisionNumber } })
            superseded = @($superseded | ForEach-Object { ([string]$_).ToLowerInvariant() } | Sort-Object -Unique)
        }
    }
    catch { [ordered]@{ installed = $null; superseded = $null } }
    finally { $Searcher.Online = $true }
}

function Find-PlannedUpdate {
    <#
    .SYNOPSIS For each update of the plan, in its order: {answer, update (the offer), alone}.
    .DESCRIPTION By UpdateID and revision: another revision was not reviewed. answer.skipped says why nothing is done.
    #>
    param([Parameter(Mandatory = $true)]$Searcher, [Parameter(Mandatory = $true)][string]$Criteria, [Parameter(Mandatory = $true)][object[]]$Plan, [bool]$AcceptEulas)
    $offers = @(Read-ComList -Collection $Searcher.Search($Criteria).Updates)
    foreach ($wanted in $Plan) {
        $offer = @($offers | Where-Object { $_.Identity.UpdateID -eq $wanted.id -and $_.Identity.RevisionNumber -eq $wanted.revision })
        $answer = [ordered]@{ id = [string]$wanted.id; revision = [int]$wanted.revision; title = $null; offered = $offer.Count -gt 0; skipped = $null; download = $null; install = $null }
        $one = @{ answer = $answer; update = $null; alone = [bool]$wanted.alone }
        if ($offer.Count -eq 0) {
            $answer.skipped = 'not offered'
            if ($Searcher.Search("UpdateID='$($wanted.id)' and IsInstalled=1").Updates.Count -gt 0) { $answer.skipped = 'installed already' }
        }
        else {
            $one.update = $offer[0]
            $answer.title = [string]$offer[0].Title
            if ((Read-ComProperty -Of $offer[0] -Path 'InstallationBehavior.Impact') -eq 2) { $one.alone = $true }
            if ($offer[0].RebootRequired) { $answer.skipped = 'waits for a reboot' }
            elseif (-not $offer[0].EulaAccepted -and -not $AcceptEulas) { $answer.skipped = 'license terms' }
        }
        $one
    }
}

function Save-PlannedUpdate {
    <# .SYNOPSIS Downloads these, one by one, and writes what the agent says into the answer of each. #>
    param([Parameter(Mandatory = $true)]$Session, [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Todo, [Parameter(Mandatory = $true)][int]$Percent)
    $step = 0
    foreach ($one in $Todo) {
        Write-JobProgress -Percent ([int][Math]::Floor($Percent * $step / $Todo.Count)) -Message "downloading $($one.answer.title)"
        $step++
        try {
            if (-not $one.update.EulaAccepted) { $one.update.AcceptEula() }
            if ($one.update.IsDownloaded) {
                $one.answer.download = [ordered]@{ result_code = 2; hresult = '00000000' }
                continue
            }
            $single = New-Object -ComObject Microsoft.Update.UpdateColl
            $null = $single.Add($one.update)
            $downloader = $Session.CreateUpdateDownloader()
            $downloader.Updates = $single
            $said = $downloader.Download().GetUpdateResult(0)
            $one.answer.download = [ordered]@{ result_code = [int]$said.ResultCode; hresult = ConvertTo-HResultText -Code $said.HResult }
        }
        catch { $one.answer.download = [ordered]@{ result_code = $null; hresult = Get-FaultCode -Caught $_ } }
    }
}

function Wait-UpdateInstaller {
    <# .SYNOPSIS Waits while another installation runs on this host; answers how many seconds of its patience are left. #>
    param([Parameter(Mandatory = $true)]$Installer, [Parameter(Mandatory = $true)][int]$Seconds)
    while ($Seconds -gt 0 -and $Installer.IsBusy) {
        Write-JobProgress -Percent 40 -Message 'waiting for another installation to end'
        Start-Sleep -Seconds 5
        $Seconds -= 5
    }
    $Seconds
}

function Read-ComProperty {
    <# .SYNOPSIS A property of a property of ...; $null where one is absent, empty or throws. #>
    param([Parameter(Mandatory = $true)]$Of, [Parameter(Mandatory = $true)][string]$Path)
    $here = $Of
    foreach ($name in $Path.Split('.')) {
        if ($null -eq $here) { return $null }
        # What an older agent does not have is an error under strict mode.
        try { $here = $here.$name } catch { $here = $null }
    }
    , $here
}

function Get-UpdateFact {
    <# .SYNOPSIS What an update says of itself; what it does not say is null (or an empty list) and named in lacks. #>
    param([Parameter(Mandatory = $true)]$Update)
    $answer = [ordered]@{ id = [string]$Update.Identity.UpdateID; revision = [int]$Update.Identity.RevisionNumber }
    $lacks = @()
    foreach ($line in @(
            'title text Title', 'kb texts KBArticleIDs', 'severity text MsrcSeverity', 'categories named Categories',
            'type number Type', 'size number MaxDownloadSize', 'reboot_behavior number InstallationBehavior.RebootBehavior',
            'impact number InstallationBehavior.Impact', 'can_request_user_input flag InstallationBehavior.CanRequestUserInput',
            'eula_accepted flag EulaAccepted', 'downloaded flag IsDownloaded', 'installed flag IsInstalled', 'hidden flag IsHidden',
            'browse_only flag BrowseOnly', 'reboot_required flag RebootRequired', 'supersedes texts SupersededUpdateIDs',
            'support_url text SupportUrl', 'released date LastDeploymentChangeTime')) {
        $name, $kind, $path = $line -split ' '
        $value = Read-ComProperty -Of $Update -Path $path
        $answer[$name] = $null
        if ($kind -in @('texts', 'named')) { $answer[$name] = @() }
        if ($null -eq $value) {
            # Most updates have no severity: that is no lack.
            if ($name -ne 'severity') { $lacks += $name }
        }
        elseif ($kind -eq 'text') { $answer[$name] = [string]$value }
        elseif ($kind -eq 'number') { $answer[$name] = [long]$value }
        elseif ($kind -eq 'flag') { $answer[$name] = [bool]$value }
        elseif ($kind -eq 'date') { $answer[$name] = ConvertTo-IsoDate -Date ([datetime]::SpecifyKind($value, [DateTimeKind]::Utc)) }
        elseif ($kind -eq 'texts') { $answer[$name] = @(Read-ComList -Collection $value | ForEach-Object { [string]$_ }) }
        else { $answer[$name] = @(Read-ComList -Collection $value | ForEach-Object { [ordered]@{ name = [string]$_.Name; id = [string]$_.CategoryID } }) }
    }
    $answer.lacks = $lacks
    $answer
}

function Get-FaultCode {
    <# .SYNOPSIS The HRESULT of what was caught, as text. #>
    param([Parameter(Mandatory = $true)]$Caught)
    ConvertTo-HResultText -Code $Caught.Exception.GetBaseException().HResult
}
