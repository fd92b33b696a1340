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

function Get-UpdateSearcher {
    <# .SYNOPSIS A searcher on the source that was asked for. #>
    param([Parameter(Mandatory = $true)]$Session, [Parameter(Mandatory = $true)][int]$ServerSelection, [string]$ServiceId)
    $Session.ClientApplicationID = 'EngageIP patching'
    $searcher = $Session.CreateUpdateSearcher()
    $searcher.ServerSelection = $ServerSelection
    if ($ServiceId) { $searcher.ServiceID = $ServiceId }
    $searcher
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
