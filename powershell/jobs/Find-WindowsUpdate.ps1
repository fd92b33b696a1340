#Requires -Version 5.1
<#
.SYNOPSIS
Asks Windows Update what it would install. As a job: over a network logon the agent refuses.
.PARAMETER source
wsus (the server that policy names; an error where it names none), windows-update, microsoft-update (registered with the
agent where it is not).
.OUTPUTS
result_code (0 to 5: 2 succeeded, 3 with errors), reboot_required (of the agent), warnings [{hresult, message}],
updates [{id, revision, title, kb (as it comes, without 'KB'), severity, categories [{name, id}], type (1 software), size,
reboot_behavior (0 never, 1 always, 2 can), impact (0 normal, 1 minor, 2 exclusive), can_request_user_input,
eula_accepted, downloaded, installed, hidden, browse_only, reboot_required, supersedes, support_url, released, lacks}],
installed [{id, revision}], superseded (ids that what is in supersedes) and history [{id, revision, result_code, hresult,
at}] (the newest first; each null where the agent throws), build {number, ubr (null when unknown)} of Windows, wsus (the server that policy sets this host to, or null).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidateSet('wsus', 'windows-update', 'microsoft-update')][string]$source,
    [string]$criteria = "IsInstalled=0 and IsHidden=0 and Type='Software'"
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Write-JobProgress -Percent 0 -Message "searching for updates ($source)"
$session = New-Object -ComObject Microsoft.Update.Session
$searcher = Get-UpdateSearcher -Session $session -Source $source
$found = $searcher.Search($criteria)
$updates = @(Read-ComList -Collection $found.Updates | ForEach-Object { Get-UpdateFact -Update $_ })
$warnings = @(Read-ComList -Collection $found.Warnings | ForEach-Object { [ordered]@{ hresult = ConvertTo-HResultText -Code $_.HResult; message = [string]$_.Message } })
$there = Get-InstalledUpdate -Searcher $searcher
$system = New-Object -ComObject Microsoft.Update.SystemInfo
Write-JobProgress -Percent 100 -Message "$($updates.Count) updates"
[ordered]@{
    result_code = [int]$found.ResultCode
    reboot_required = [bool]$system.RebootRequired
    warnings = $warnings
    updates = $updates
    installed = $there.installed
    superseded = $there.superseded
    history = Get-UpdateHistory -Searcher $searcher
    build = Get-WindowsBuild
    wsus = Get-WsusServer
}
