#Requires -Version 5.1
# quser.exe over sessions.json ({"lines": [...]} below its heading), and the protectors of a volume, which cim.json keeps with
# it: {"Win32_EncryptableVolume": [{"DriveLetter", "ProtectionStatus", "KeyProtectors": {"4": ["{id}"]}}]}.
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

function Invoke-CimMethod {
    [CmdletBinding()]
    param($InputObject, [string]$MethodName, [Collections.IDictionary]$Arguments)
    if ($MethodName -ne 'GetKeyProtectors') { throw "no stub for $MethodName" }
    $volume = @((Read-StubState -Name 'cim.json').Win32_EncryptableVolume | Where-Object { $_.DriveLetter -eq $InputObject.DriveLetter })[0]
    $held = Get-StubValue -State $volume.KeyProtectors -Name ([string]$Arguments['KeyProtectorType'])
    if ($null -eq $held) { return [pscustomobject]@{ ReturnValue = [uint32]0 } }
    [pscustomobject]@{ VolumeKeyProtectorID = $held; ReturnValue = [uint32]0 }
}
