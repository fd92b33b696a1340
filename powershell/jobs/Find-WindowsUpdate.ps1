#Requires -Version 5.1
<#
.SYNOPSIS
Asks Windows Update what it would install. As a job: over a network logon the agent refuses.
.PARAMETER server_selection
0 as the host is configured, 1 its WSUS, 2 Windows Update, 3 the service of service_id (Microsoft Update:
7971f918-a847-4430-9279-4a52d1efe18d).
.OUTPUTS
result_code (0 to 5: 2 succeeded, 3 with errors), reboot_required (of the agent), warnings [{hresult, message}],
updates [{id, revision, title, kb (as it comes, without 'KB'), severity, categories [{name, id}], type (1 software), size,
reboot_behavior (0 never, 1 always, 2 can), impact (0 normal, 1 minor, 2 exclusive), can_request_user_input,
eula_accepted, downloaded, installed, hidden, browse_only, reboot_required, supersedes, support_url, released, lacks}].
#>
[CmdletBinding()]
param(
    [string]$criteria = "IsInstalled=0 and IsHidden=0 and Type='Software'",
    [int]$server_selection = 0,
    [string]$service_id = ''
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Write-JobProgress -Percent 0 -Message 'searching for updates'
$session = New-Object -ComObject Microsoft.Update.Session
$searcher = Get-UpdateSearcher -Session $session -ServerSelection $server_selection -ServiceId $service_id
$found = $searcher.Search($criteria)
$updates = @(Read-ComList -Collection $found.Updates | ForEach-Object { Get-UpdateFact -Update $_ })
$warnings = @(Read-ComList -Collection $found.Warnings | ForEach-Object { [ordered]@{ hresult = ConvertTo-HResultText -Code $_.HResult; message = [string]$_.Message } })
$system = New-Object -ComObject Microsoft.Update.SystemInfo
Write-JobProgress -Percent 100 -Message "$($updates.Count) updates"
[ordered]@{ result_code = [int]$found.ResultCode; reboot_required = [bool]$system.RebootRequired; warnings = $warnings; updates = $updates }
