#Requires -Version 5.1
# What methods of CIM classes do, over cim.json. The protectors of a volume are kept with it:
# {"Win32_EncryptableVolume": [{"DriveLetter", "ProtectionStatus", "KeyProtectors": {"4": ["{id}"]}}]}.
# A snapshot of drive C: ({"Win32_ShadowCopy": [{"ID", "DeviceObject", "VolumeName"}]}) is a copy of it, shadow/<number> in
# the host's folder. vss.json may say {"codes": [what Create answers first], "mklink": exit code, "lost": true (what is in
# the snapshot goes once it has its link), "stays": true (none can be deleted), "meanwhile": {path: text} (what is written
# once the snapshot is made)}.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Read-StubShadow {
    @(Get-StubValue -State (Read-StubState -Name 'cim.json') -Name 'Win32_ShadowCopy' | Where-Object { $null -ne $_ })
}

function Get-StubShadowFolder {
    param([string]$Device)
    Get-StubFile -Name "shadow/$($Device -replace '\D')"
}

function Invoke-StubProgram {
    # A program of this machine: what it copies and removes are no paths of Windows.
    $program = $args[0]
    $rest = @($args | Select-Object -Skip 1)
    & $program @rest
    if ($LASTEXITCODE -ne 0) { throw "$program answered $LASTEXITCODE" }
}

function Invoke-CimMethod {
    [CmdletBinding()]
    param($InputObject, [string]$ClassName, [string]$MethodName, [Collections.IDictionary]$Arguments, [uint32]$OperationTimeoutSec)
    if ($MethodName -eq 'GetKeyProtectors') {
        $volume = @((Read-StubState -Name 'cim.json').Win32_EncryptableVolume | Where-Object { $_.DriveLetter -eq $InputObject.DriveLetter })[0]
        $held = Get-StubValue -State $volume.KeyProtectors -Name ([string]$Arguments['KeyProtectorType'])
        if ($null -eq $held) { return [pscustomobject]@{ ReturnValue = [uint32]0 } }
        return [pscustomobject]@{ VolumeKeyProtectorID = $held; ReturnValue = [uint32]0 }
    }
    if ($ClassName -ne 'Win32_ShadowCopy' -or $MethodName -ne 'Create') { throw "no stub for $MethodName of $ClassName" }
    $state = Read-StubState -Name 'vss.json'
    $codes = @(Get-StubValue -State $state -Name 'codes' | Where-Object { $null -ne $_ })
    if ($codes.Count -gt 0) {
        $state.codes = @($codes | Select-Object -Skip 1)
        Write-StubState -Name 'vss.json' -Value $state
        return [pscustomobject]@{ ReturnValue = [uint32]$codes[0]; ShadowID = '{00000000-0000-0000-0000-000000000000}' }
    }
    if ($Arguments['Volume'] -ne 'C:\' -or $Arguments['Context'] -ne 'ClientAccessible') { throw "no stub for a snapshot of $($Arguments['Volume'])" }
    $shadows = @(Read-StubShadow)
    $number = 1 + [int](@($shadows | ForEach-Object { [int]($_.DeviceObject -replace '\D') }) + 0 | Measure-Object -Maximum).Maximum
    $shadow = [pscustomobject]@{
        ID = "{$([guid]::NewGuid().ToString().ToUpperInvariant())}"
        DeviceObject = "\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy$number"
        VolumeName = 'C:\'
    }
    $folder = Get-StubShadowFolder -Device $shadow.DeviceObject
    Invoke-StubProgram '/bin/mkdir' '-p' (Get-StubFile -Name 'shadow')
    Invoke-StubProgram '/bin/cp' '-a' (Get-StubFile -Name 'C') $folder
    Write-StubCim -Class 'Win32_ShadowCopy' -Instances ($shadows + $shadow)
    [pscustomobject]@{ ReturnValue = [uint32]0; ShadowID = $shadow.ID }
}

function Remove-CimInstance {
    [CmdletBinding()]
    param([Parameter(ValueFromPipeline = $true)]$InputObject, [uint32]$OperationTimeoutSec)
    process {
        if (Get-StubValue -State (Read-StubState -Name 'vss.json') -Name 'stays') { throw 'Generic failure ' }
        Invoke-StubProgram '/bin/rm' '-rf' (Get-StubShadowFolder -Device $InputObject.DeviceObject)
        Write-StubCim -Class 'Win32_ShadowCopy' -Instances @(Read-StubShadow | Where-Object { $_.ID -ne $InputObject.ID })
    }
}

function cmd.exe {
    if ($args[0] -ne '/c' -or $args[1] -ne 'mklink' -or $args[2] -ne '/d' -or $args[4] -notmatch '^\\\\\?\\GLOBALROOT\\.*\\$') { throw "no stub for cmd.exe $args" }
    $device = $args[4].TrimEnd('\')
    $state = Read-StubState -Name 'vss.json'
    $code = Get-StubValue -State $state -Name 'mklink'
    if ($null -ne $code) {
        $global:LASTEXITCODE = $code
        return 'You do not have sufficient privilege to perform this operation.'
    }
    $folder = Get-StubShadowFolder -Device $device
    $link = (Get-StubFile -Name 'C') + $args[3].Substring(2).Replace('\', '/')
    Invoke-StubProgram '/bin/ln' '-s' $folder $link
    if (Get-StubValue -State $state -Name 'lost') {
        Write-StubCim -Class 'Win32_ShadowCopy' -Instances @(Read-StubShadow | Where-Object { $_.DeviceObject -ne $device })
        # Found when it is asked for, gone when it is read: names that lead nowhere.
        Invoke-StubProgram '/usr/bin/find' $folder '-type' 'f' '-exec' '/bin/ln' '-sf' '/nowhere' '{}' ';'
    }
    $meanwhile = Get-StubValue -State $state -Name 'meanwhile'
    if ($null -ne $meanwhile) {
        foreach ($file in @($meanwhile.PSObject.Properties)) { [IO.File]::WriteAllText($file.Name, $file.Value) }
    }
    "symbolic link created for $($args[3]) <<===>> $($args[4])"
    $global:LASTEXITCODE = 0
}
