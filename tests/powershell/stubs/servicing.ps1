#Requires -Version 5.1
# wusa.exe and dism.exe: an update file's last line is JSON ({"kb", "ubr", "reboot", "not_for"}); servicing.json may say
# {"<file>": exit code}. What was run goes to setup.log.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Invoke-StubServicing {
    param([string]$Tool, [string[]]$ArgumentList)
    $path = @($ArgumentList | Where-Object { $_ -match '\.(msu|cab)"?$' })[0] -replace '^/PackagePath:' -replace '"'
    # dism.exe takes what lies beside an update: beside.log.
    $beside = @([IO.Directory]::GetFiles([IO.Path]::GetDirectoryName($path)) | ForEach-Object { [IO.Path]::GetFileName($_) } | Sort-Object)
    [IO.File]::AppendAllText((Get-StubFile -Name 'beside.log'), "$($beside -join ' ')`n")
    $update = Read-StubPackage -Path $path
    $cim = Read-StubState -Name 'cim.json'
    $listed = @(Get-StubValue -State $cim -Name 'Win32_QuickFixEngineering')
    $code = Get-StubValue -State (Read-StubState -Name 'servicing.json') -Name ([IO.Path]::GetFileName($path))
    if ($null -eq $code) {
        $code = 0
        if ($null -eq $update) { $code = -2147024809 }
        elseif (Get-StubValue -State $update -Name 'not_for') { $code = @{ 'wusa.exe' = -2145124329; 'dism.exe' = -2146498530 }[$Tool] }
        elseif (@($listed | Where-Object { $null -ne $_ -and $_.HotFixID -eq $update.kb }).Count -gt 0) { $code = @{ 'wusa.exe' = 2359302; 'dism.exe' = 0 }[$Tool] }
        elseif (Get-StubValue -State $update -Name 'reboot') {
            $code = 3010
            $null = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey('SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending')
        }
        else {
            $hotfixes = @($listed | Where-Object { $null -ne $_ }) + @([pscustomobject]@{ HotFixID = $update.kb; Description = 'Update' })
            Add-Member -InputObject $cim -MemberType NoteProperty -Name 'Win32_QuickFixEngineering' -Value $hotfixes -Force
            Write-StubState -Name 'cim.json' -Value $cim
        }
    }
    [pscustomobject]@{ ExitCode = [int]$code }
}
