#Requires -Version 5.1
# Settings of a task that tasks.json of the engine lacks: task-settings.json, by the task's full name.
# {"unstartable": words} is a task scheduler that starts none, {"overtaken": lease} a lease that is there once a task is made.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Register-ScheduledTask {
    [CmdletBinding()]
    param([string]$TaskName, [string]$TaskPath, [object[]]$Action, [object[]]$Trigger, $Settings, $Principal, [string]$Description, [switch]$Force)
    $state = Read-StubState -Name 'task-settings.json'
    $told = [ordered]@{ DisallowStartIfOnBatteries = $Settings.DisallowStartIfOnBatteries; StopIfGoingOnBatteries = $Settings.StopIfGoingOnBatteries; StartWhenAvailable = $Settings.StartWhenAvailable }
    Add-Member -InputObject $state -MemberType NoteProperty -Name "$TaskPath$TaskName" -Value $told -Force
    Write-StubState -Name 'task-settings.json' -Value $state
    # Another run takes over in that moment.
    $lease = Get-StubValue -State $state -Name 'overtaken'
    if ($null -ne $lease) { [IO.File]::WriteAllText("$env:ProgramData\EngageIPPatching\lease.json", (ConvertTo-Json -InputObject $lease -Depth 12)) }
    & (Get-Command -Name 'Register-ScheduledTask' -CommandType Cmdlet) @PSBoundParameters
}

function Start-ScheduledTask {
    [CmdletBinding()]
    param([string]$TaskName, [string]$TaskPath)
    $why = Get-StubValue -State (Read-StubState -Name 'task-settings.json') -Name 'unstartable'
    if ($null -ne $why) { throw $why }
    & (Get-Command -Name 'Start-ScheduledTask' -CommandType Cmdlet) @PSBoundParameters
}
