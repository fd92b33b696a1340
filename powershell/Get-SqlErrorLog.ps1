#Requires -Version 5.1
<#
.SYNOPSIS
The lines of an instance's ERRORLOG that match, each with the one after it that is not blank, and the last of all.
.DESCRIPTION
Reads the log of the present start (a start begins a new one), from where the registry's startup parameters say. Works
while nobody can log in. Touches nothing.
.PARAMETER pattern
A regular expression; the host sends what matches, since a script upgrade alone writes hundreds of kilobytes.
.OUTPUTS
path (null where there is no such instance or no log), lines (the last 400 at most), last (the last three).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$instance,
    [Parameter(Mandatory = $true)][string]$pattern
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$path = $null
$id = Get-MachineValue -Key 'SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\SQL' -Name $instance
if ($null -ne $id) {
    $parameters = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("SOFTWARE\Microsoft\Microsoft SQL Server\$id\MSSQLServer\Parameters")
    if ($null -ne $parameters) {
        try {
            foreach ($name in @($parameters.GetValueNames())) {
                $value = [string]$parameters.GetValue($name)
                if ($value -clike '-e*') { $path = $value.Substring(2).Trim() }
            }
        }
        finally { $parameters.Close() }
    }
}
if ($null -ne $path -and -not [IO.File]::Exists($path)) { $path = $null }
$kept = [Collections.Generic.Queue[string]]::new()
$last = [Collections.Generic.Queue[string]]::new()
if ($null -ne $path) {
    # SQL Server goes on writing; the encoding is told by the byte-order mark.
    $reader = New-Object IO.StreamReader((Open-SharedRead -Path $path), [Text.Encoding]::Unicode, $true)
    try {
        $follows = $false
        while ($null -ne ($line = $reader.ReadLine())) {
            if (-not $line.Trim()) { continue }
            $tells = $line -cmatch $pattern
            if ($tells -or $follows) {
                $kept.Enqueue($line)
                if ($kept.Count -gt 400) { $null = $kept.Dequeue() }
            }
            $follows = $tells
            $last.Enqueue($line)
            if ($last.Count -gt 3) { $null = $last.Dequeue() }
        }
    }
    finally { $reader.Dispose() }
}
[ordered]@{ path = $path; lines = @($kept.ToArray()); last = @($last.ToArray()) }
