#Requires -Version 5.1
<#
.SYNOPSIS
What could disturb a night on this host: others that patch it, a start that waits for a person, people who are logged on.
.DESCRIPTION
Touches nothing. Answers
  automatic_updates (AUOptions of Windows Update's policy, null where none is set; 4 installs by itself),
  config_manager (Configuration Manager's client is here and not disabled),
  azure_update_manager (one of its extensions is installed),
  system_volume {protection (ProtectionStatus: 0 off or suspended, 1 on, 2 unknown), protectors [types that it has, as
  Win32_EncryptableVolume numbers them]}, or null where Windows has no BitLocker,
  sessions [lines of quser.exe, without its heading].
#>
[CmdletBinding()]
param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$volume = $null
try {
    $encryptable = @(Get-CimInstance -Namespace 'root\cimv2\Security\MicrosoftVolumeEncryption' -ClassName Win32_EncryptableVolume |
            Where-Object { $_.DriveLetter -eq $env:SystemDrive })
    if ($encryptable.Count -gt 0) {
        # Of the ten types: the TPM alone 1, a startup key 2 and 5, a PIN 4 and 6, a password 8, the network 9.
        $protectors = @(foreach ($type in 1, 2, 4, 5, 6, 8, 9) {
                $answer = Invoke-CimMethod -InputObject $encryptable[0] -MethodName 'GetKeyProtectors' -Arguments @{ KeyProtectorType = [uint32]$type }
                # Where Windows gives none, the answer may lack the property.
                $held = $answer.PSObject.Properties['VolumeKeyProtectorID']
                if ($null -ne $held -and @($held.Value | Where-Object { $_ }).Count -gt 0) { $type }
            })
        $volume = [ordered]@{ protection = [int]$encryptable[0].ProtectionStatus; protectors = $protectors }
    }
}
catch {
    # Without the feature there is neither the class (0x80041010) nor its namespace (0x8004100E).
    if ($_.FullyQualifiedErrorId -notmatch '^HRESULT 0x800410(10|0E)') { throw }
}

$sessions = @()
if (Get-Command -Name 'quser.exe' -ErrorAction SilentlyContinue) {
    # It answers 1 where nobody is logged on.
    $said = Invoke-Native -File 'quser.exe'
    if ($said.code -eq 0) { $sessions = @($said.text -split "`r?`n" | Select-Object -Skip 1 | ForEach-Object { $_.Trim() }) }
}

$client = @(Get-CimInstance -ClassName Win32_Service | Where-Object { $_.Name -eq 'CcmExec' -and $_.StartMode -ne 'Disabled' })
$extensions = @('Microsoft.CPlat.Core.WindowsPatchExtension', 'Microsoft.SoftwareUpdateManagement.WindowsOsUpdateExtension')
[ordered]@{
    automatic_updates = Get-MachineValue -Key 'SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU' -Name 'AUOptions'
    config_manager = $client.Count -gt 0
    azure_update_manager = @($extensions | Where-Object { [IO.Directory]::Exists("$env:SystemDrive\Packages\Plugins\$_") }).Count -gt 0
    system_volume = $volume
    sessions = $sessions
}
