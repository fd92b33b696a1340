#Requires -Version 5.1
<#
.SYNOPSIS
Reads which version of a product is installed here.
.PARAMETER probe
{kind "product", name (DisplayName, or the product code)}, {kind "file", name, pattern (of a text file; null: the file's own
version)}, {kind "registry", name (below HKEY_LOCAL_MACHINE), value} or {kind "hotfix", name}.
.OUTPUTS
versions: all that were found; none where it is not installed.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)]$probe
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

[ordered]@{ versions = @(Read-PackageVersion -Probe $probe) }
