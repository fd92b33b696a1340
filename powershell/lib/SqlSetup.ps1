#Requires -Version 5.1
# What SQL Server's setup has left on this host: instances in the registry, its processes, its summaries.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-SqlInstance {
    <# .SYNOPSIS {name, kind, id, build, edition} of every instance: engines (SQL), Analysis (OLAP) and Reporting Services (RS). #>
    foreach ($kind in @('SQL', 'OLAP', 'RS')) {
        $names = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\$kind")
        if ($null -eq $names) { continue }
        try {
            foreach ($name in @($names.GetValueNames() | Sort-Object)) {
                $id = [string]$names.GetValue($name)
                $setup = "SOFTWARE\Microsoft\Microsoft SQL Server\$id\Setup"
                [ordered]@{
                    name = $name
                    kind = $kind
                    id = $id
                    build = Get-MachineValue -Key $setup -Name 'PatchLevel'
                    edition = Get-MachineValue -Key $setup -Name 'Edition'
                }
            }
        }
        finally { $names.Close() }
    }
}

function Get-SetupProcess {
    <# .SYNOPSIS {id, name, path} of every process of SQL Server setup that runs: from where we unpack it, or from setup's own folder. #>
    $ours = "$(Get-PatchingRoot)\staging\sql-*"
    foreach ($process in @(Get-CimInstance -ClassName Win32_Process)) {
        $path = [string]$process.ExecutablePath
        if ($path -like $ours -or $path -like '*\Setup Bootstrap\*') {
            [ordered]@{ id = [int]$process.ProcessId; name = [string]$process.Name; path = $path }
        }
    }
}

function Get-SetupSummary {
    <# .SYNOPSIS {path, written, text} of every Summary.txt that setup has written since, the newest first, at most six. #>
    param([Parameter(Mandatory = $true)][datetime]$Since)
    $root = "$env:ProgramFiles\Microsoft SQL Server"
    if (-not [IO.Directory]::Exists($root)) { return }
    $found = @(foreach ($version in [IO.Directory]::GetDirectories($root)) {
            $log = "$version\Setup Bootstrap\Log"
            if (-not [IO.Directory]::Exists($log)) { continue }
            # The newest under its own name; each again in the folder of its run.
            $files = @("$log\Summary.txt") + @(foreach ($run in [IO.Directory]::GetDirectories($log)) { [IO.Directory]::GetFiles($run, 'Summary_*.txt') })
            foreach ($file in $files) {
                # Two seconds: clocks and file times differ in grain.
                if ([IO.File]::Exists($file) -and [IO.File]::GetLastWriteTimeUtc($file) -ge $Since.AddSeconds(-2)) {
                    [pscustomobject]@{ path = $file; written = [IO.File]::GetLastWriteTimeUtc($file) }
                }
            }
        })
    foreach ($one in @($found | Sort-Object -Property @{ Expression = 'written'; Descending = $true }, @{ Expression = 'path'; Descending = $false } | Select-Object -First 6)) {
        # UTF-16 or ANSI by version; the reader goes by the byte-order mark.
        $reader = New-Object IO.StreamReader((Open-SharedRead -Path $one.path), [Text.Encoding]::UTF8, $true)
        try { $text = $reader.ReadToEnd() }
        finally { $reader.Dispose() }
        [ordered]@{ path = $one.path; written = ConvertTo-IsoDate -Date $one.written; text = $text.Substring(0, [Math]::Min(30000, $text.Length)) }
    }
}
