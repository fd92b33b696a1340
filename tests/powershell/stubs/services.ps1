#Requires -Version 5.1
# Win32_Service.ExitCode, which the engine's services lack: from services.json ("exit", else 0).
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-CimInstance {
    [CmdletBinding()]
    param([string]$ClassName, [string]$Namespace, [string]$Filter, [uint32]$OperationTimeoutSec)
    $services = $null
    if ($ClassName -eq 'Win32_Service') { $services = Read-StubState -Name 'services.json' }
    foreach ($one in @(& (Get-Command -Name 'Get-CimInstance' -CommandType Cmdlet) @PSBoundParameters)) {
        if ($null -ne $services) {
            $code = Get-StubValue -State (Get-StubValue -State $services -Name $one.Name) -Name 'exit'
            if ($null -eq $code) { $code = 0 }
            Add-Member -InputObject $one -MemberType NoteProperty -Name 'ExitCode' -Value ([uint32]$code)
        }
        $one
    }
}
