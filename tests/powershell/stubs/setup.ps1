#Requires -Version 5.1
# SQL Server's setup: the last line of a package is {"build", "kb", "signer"}, and it unpacks to a setup.exe that is the same file. setup.json says {"exit_code", "patches", "summary" (the text that it writes, or null), "hangs" ("said",
# "silent"), "unwatched": true (its exit code cannot be had), "unpacks": false, "another": true (another setup begins once the package is unpacked)}. What was run goes to setup.log. Packages.ps1 runs everything else.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Set-StubProcess {
    # The row of setup in Win32_Process, or none any more.
    param($Path)
    $cim = Read-StubState -Name 'cim.json'
    $rows = @()
    if ($null -ne $Path) { $rows = @([ordered]@{ ProcessId = 4242; Name = 'setup.exe'; ExecutablePath = $Path }) }
    $cim | Add-Member -MemberType NoteProperty -Name 'Win32_Process' -Value $rows -Force
    Write-StubState -Name 'cim.json' -Value $cim
}

function Stop-Process {
    param([int[]]$Id, [switch]$Force)
    [IO.File]::AppendAllText((Get-StubFile -Name 'setup.log'), "Stop-Process $Id $Force`n")
    Set-StubProcess -Path $null
}

function Invoke-StubSetup {
    param([string]$FilePath, [string[]]$ArgumentList, $Fault)
    $package = Read-StubPackage -Path $FilePath
    $root = 'SOFTWARE\Microsoft\Microsoft SQL Server'
    $names = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("$root\Instance Names\SQL")
    foreach ($name in @($names.GetValueNames())) {
        if ($ArgumentList -notcontains '/AllInstances' -and $ArgumentList -notcontains "/InstanceName=$name") { continue }
        if ($Fault.exit_code -in @(0, 3010) -or (Get-StubValue -State $Fault -Name 'patches')) {
            [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("$root\$($names.GetValue($name))\Setup", $true).SetValue('PatchLevel', $package.build)
        }
    }
    $text = Get-StubValue -State $Fault -Name 'summary'
    if ($null -ne $text) {
        $log = "C:\Program Files\Microsoft SQL Server\$($package.build.Split('.')[0])0\Setup Bootstrap\Log"
        $null = [IO.Directory]::CreateDirectory("$log\20260110_031224")
        [IO.File]::WriteAllText("$log\20260110_031224\Summary_SQL01_20260110_031224.txt", $text, [Text.Encoding]::Unicode)
        [IO.File]::WriteAllText("$log\Summary.txt", $text, [Text.Encoding]::Unicode)
    }
}

function Start-StubSqlSetup {
    param([string]$FilePath, [string[]]$ArgumentList)
    [IO.File]::AppendAllText((Get-StubFile -Name 'setup.log'), "$FilePath $($ArgumentList -join ' ')`n")
    $tool = [IO.Path]::GetFileName($FilePath)
    if ($tool -in @('wusa.exe', 'dism.exe')) { return (Invoke-StubServicing -Tool $tool -ArgumentList $ArgumentList) }
    $package = Read-StubPackage -Path $FilePath
    if ($null -eq $package) {
        throw (New-Object InvalidOperationException('This command cannot be run due to the error: The specified executable is not a valid application for this OS platform.'))
    }
    $fault = Read-StubState -Name 'setup.json'
    $process = [pscustomobject]@{ Handle = 1; Id = 4242; HasExited = $true; ExitCode = 0 }
    $unpack = @($ArgumentList | Where-Object { $_ -like '/x:*' })
    if ($unpack.Count -gt 0) {
        $folder = $unpack[0].Substring(3)
        $null = [IO.Directory]::CreateDirectory($folder)
        if ((Get-StubValue -State $fault -Name 'unpacks') -ne $false) { [IO.File]::Copy($FilePath, "$folder\setup.exe") }
        if (Get-StubValue -State $fault -Name 'another') {
            $process.PSObject.Properties.Remove('ExitCode')
            $process | Add-Member -MemberType ScriptProperty -Name 'ExitCode' -Value { Set-StubProcess -Path 'C:\Program Files\Microsoft SQL Server\150\Setup Bootstrap\SQL2019\x64\setup.exe'; 0 }
        }
        return $process
    }
    if (Get-StubValue -State $fault -Name 'unwatched') {
        $process.ExitCode = 'nobody knows'
        return $process
    }
    $hangs = Get-StubValue -State $fault -Name 'hangs'
    if ($hangs -ne 'silent') { Invoke-StubSetup -FilePath $FilePath -ArgumentList $ArgumentList -Fault $fault }
    $process.ExitCode = [int]$fault.exit_code
    if ($null -ne $hangs) {
        $process.HasExited = $false
        Set-StubProcess -Path $FilePath
    }
    $process
}

function Start-Process {
    param([string]$FilePath, [string[]]$ArgumentList, [switch]$Wait, [switch]$PassThru)
    if ($FilePath -like '*\staging\sql-*' -or $ArgumentList -like '/x:*') { return (Start-StubSqlSetup -FilePath $FilePath -ArgumentList $ArgumentList) }
    if (-not $Wait) { return (Start-StubInstaller -FilePath $FilePath -ArgumentList $ArgumentList) }
    [IO.File]::AppendAllText((Get-StubFile -Name 'setup.log'), "$FilePath $($ArgumentList -join ' ')`n")
    Invoke-StubServicing -Tool ([IO.Path]::GetFileName($FilePath)) -ArgumentList $ArgumentList
}
