#Requires -Version 5.1
# Policies that bind the scripts of SYSTEM's tasks (policies.json); the lab keeps the same file. The last stub: no class
# can be declared once the language is constrained.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$language = Get-StubValue -State (Read-StubState -Name 'policies.json') -Name 'language'
# The engine runs each task in a process of its own, and notes its number.
$running = @((Read-StubState -Name 'tasks.json').PSObject.Properties | Where-Object { (Get-StubValue -State $_.Value -Name 'pid') -eq $PID })
if ($null -ne $language -and $running.Count -gt 0) { $ExecutionContext.SessionState.LanguageMode = $language }
