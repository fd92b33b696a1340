#Requires -Version 5.1
# quser.exe over sessions.json ({"lines": [...]} below its heading).
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function quser.exe {
    $lines = @(Get-StubValue -State (Read-StubState -Name 'sessions.json') -Name 'lines' | Where-Object { $_ })
    if ($lines.Count -eq 0) {
        $global:LASTEXITCODE = 1
        return 'No User exists for *'
    }
    $global:LASTEXITCODE = 0
    ' USERNAME              SESSIONNAME        ID  STATE   IDLE TIME  LOGON TIME'
    $lines
}
