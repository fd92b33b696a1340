#Requires -Version 5.1
# What the registry says of this host's instances of SQL Server, whether they run or not.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-InstanceBuild {
    <#
    .SYNOPSIS The build that setup has left behind (PatchLevel), or null where there is no such instance.
    #>
    param([Parameter(Mandatory = $true)][string]$Instance)
    $id = Get-MachineValue -Key 'SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\SQL' -Name $Instance
    if ($null -eq $id) { return $null }
    Get-MachineValue -Key "SOFTWARE\Microsoft\Microsoft SQL Server\$id\Setup" -Name 'PatchLevel'
}
