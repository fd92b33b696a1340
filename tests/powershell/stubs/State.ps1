#Requires -Version 5.1
# For the stubs: the state files in the host's folder, which lies above the folder that is drive C:.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-StubFile {
    param([string]$Name)
    $drive = (Get-PSDrive -Name C).Root.TrimEnd('/')
    $drive.Substring(0, $drive.Length - 1) + $Name
}

function Read-StubState {
    param([string]$Name)
    $file = Get-StubFile -Name $Name
    if ([IO.File]::Exists($file)) { ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($file)) } else { [pscustomobject]@{} }
}

function Write-StubState {
    param([string]$Name, $Value)
    # As a whole: a test may read it at the same time.
    $file = Get-StubFile -Name $Name
    $fresh = "$file.$([guid]::NewGuid())"
    [IO.File]::WriteAllText($fresh, (ConvertTo-Json -InputObject $Value -Depth 12))
    if ([IO.File]::Exists($file)) { [IO.File]::Replace($fresh, $file, [NullString]::Value) } else { [IO.File]::Move($fresh, $file) }
}

function Write-StubCim {
    # The instances that there are of a class of cim.json.
    param([string]$Class, [AllowEmptyCollection()][object[]]$Instances)
    $cim = Read-StubState -Name 'cim.json'
    $cim.PSObject.Properties.Remove($Class)
    Add-Member -InputObject $cim -MemberType NoteProperty -Name $Class -Value @($Instances)
    Write-StubState -Name 'cim.json' -Value $cim
}

function Get-StubValue {
    # A property of a state, or $null: strict mode has no other way.
    param($State, [string]$Name)
    $property = $State.PSObject.Properties[$Name]
    if ($null -ne $property) { $property.Value }
}
