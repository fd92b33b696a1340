#Requires -Version 5.1
<#
.SYNOPSIS
Asks Windows to restart this host, once per intent.
.DESCRIPTION
Before it asks, it leaves a mark that the boot removes (a volatile registry key) and restart.json, which stays. An intent
whose restart has happened (its mark is gone, this is another boot) is not asked for again. Intents are KEY.NUMBER: of one
key they are asked for in the order of their numbers, and a higher one that has happened tells of the lower too. Answers {outcome, intent,
boot_id (before the restart), last_boot, attempts [{arguments, code, text}]}; outcome is
  asked        shutdown.exe took the request,
  in_progress  the machine is already going down (1115),
  restarted    it has restarted for this intent before; nothing was asked,
  refused      anything else: see the code and text of the attempts.
A restart that somebody else has scheduled (1190) is called off and replaced by ours, once.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$intent,
    [Parameter(Mandatory = $true)][string]$reason,
    [Parameter(Mandatory = $true)][int]$fence
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Test-LaterIntent {
    # Whether a restart asked for as one intent is another's, or a later one of its run.
    param([string]$Asked, [string]$Intent)
    if ($Asked -ceq $Intent) { return $true }
    $told = [regex]::Match($Asked, '^(.*)\.([0-9]{1,9})$')
    $wanted = [regex]::Match($Intent, '^(.*)\.([0-9]{1,9})$')
    return ($told.Success -and $wanted.Success -and $told.Groups[1].Value -ceq $wanted.Groups[1].Value -and
        [int]$told.Groups[2].Value -gt [int]$wanted.Groups[2].Value)
}

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$path = "$(Get-PatchingRoot)\restart.json"
$booted = ConvertTo-IsoDate -Date (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
$earlier = Read-JsonFile -Path $path
$marker = Get-MachineValue -Key 'SOFTWARE\EngageIPPatching\Restart' -Name 'Intent'
if ($null -ne $earlier -and (Test-LaterIntent -Asked $earlier.intent -Intent $intent) -and
    @($intent, $earlier.intent) -cnotcontains $marker -and $earlier.boot_id -ne (Get-BootId)) {
    return [ordered]@{ outcome = 'restarted'; intent = $intent; boot_id = $earlier.boot_id; last_boot = $earlier.last_boot; attempts = @() }
}

$boot = Initialize-BootId
# The mark first: with the file alone, a script that died in between would read as a restart that has happened.
Set-VolatileValue -Key 'Restart' -Name 'Intent' -Value $intent
Write-JsonFile -Path $path -Value ([ordered]@{ intent = $intent; boot_id = $boot; last_boot = $booted; reason = $reason; fence = $fence; asked = Get-IsoNow })

# p:2:17 is 'planned, operating system: security fix'. Quotes would end the comment early.
$request = @('/r', '/t', '2', '/d', 'p:2:17', '/c', ($reason -replace '["\\]', "'"))
$attempts = @()
$outcome = 'refused'
foreach ($try in 1, 2) {
    $said = Invoke-Native -File 'shutdown.exe' -Arguments $request
    $attempts += [ordered]@{ arguments = $request; code = $said.code; text = $said.text }
    if ($said.code -eq 0) { $outcome = 'asked' }
    if ($said.code -eq 1115) { $outcome = 'in_progress' }
    if ($said.code -ne 1190 -or $try -eq 2) { break }
    $said = Invoke-Native -File 'shutdown.exe' -Arguments @('/a')
    $attempts += [ordered]@{ arguments = @('/a'); code = $said.code; text = $said.text }
}
[ordered]@{ outcome = $outcome; intent = $intent; boot_id = $boot; last_boot = $booted; attempts = $attempts }
