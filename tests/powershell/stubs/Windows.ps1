#Requires -Version 5.1
# Owners and protection of folders (acl.json) and shutdown.exe (shutdown.json); the lab keeps the same two files.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-Acl {
    param([string[]]$LiteralPath)
    $entry = Get-StubValue -State (Read-StubState -Name 'acl.json') -Name $LiteralPath[0]
    $owner = 'BA'
    $flags = 'AI'
    if ($null -ne $entry) {
        $owner = $entry.owner
        if ($entry.protected) { $flags = 'PAI' }
    }
    [pscustomobject]@{ Path = $LiteralPath[0]; Sddl = "O:${owner}G:SYD:$flags(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)" }
}

function icacls.exe {
    $state = Read-StubState -Name 'acl.json'
    $code = Get-StubValue -State $state -Name '@icacls'
    if ($null -ne $code) {
        "$($args[0]): Access is denied."
        'Successfully processed 0 files; Failed processing 1 files'
        $global:LASTEXITCODE = $code
        return
    }
    $entry = Get-StubValue -State $state -Name $args[0]
    if ($null -eq $entry) {
        $entry = [pscustomobject]@{ owner = 'BA'; protected = $false }
        $state | Add-Member -MemberType NoteProperty -Name $args[0] -Value $entry
    }
    if ($args[1] -eq '/setowner') { $entry.owner = 'BA' }
    if ($args[1] -eq '/inheritance:r') { $entry.protected = $true }
    Write-StubState -Name 'acl.json' -Value $state
    "processed file: $($args[0])"
    'Successfully processed 1 files; Failed processing 0 files'
    $global:LASTEXITCODE = 0
}

function Get-RestartIntent {
    # What would be left of a restart's intent if the script died now: in the file, and in the key that a boot removes.
    $key = Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\EngageIPPatching\Restart' -ErrorAction SilentlyContinue
    $file = 'C:\ProgramData\EngageIPPatching\restart.json'
    if (Test-Path -LiteralPath $file) { (Get-Content -LiteralPath $file -Raw -Encoding UTF8 | ConvertFrom-Json).intent } else { '' }
    if ($null -ne $key) { Get-StubValue -State $key -Name 'Intent' } else { '' }
}

function shutdown.exe {
    $state = Read-StubState -Name 'shutdown.json'
    $phase = Get-StubValue -State $state -Name 'phase'
    $global:LASTEXITCODE = 0
    if ($phase -eq 'in_progress') {
        'A system shutdown is in progress.(1115)'
        $global:LASTEXITCODE = 1115
    }
    elseif ($phase -eq 'denied') {
        'Access is denied.(5)'
        $global:LASTEXITCODE = 5
    }
    elseif ($args[0] -eq '/a') { Write-StubState -Name 'shutdown.json' -Value ([ordered]@{ phase = $null }) }
    elseif ($phase -eq 'scheduled') {
        'A system shutdown has already been scheduled.(1190)'
        $global:LASTEXITCODE = 1190
    }
    else { Write-StubState -Name 'shutdown.json' -Value ([ordered]@{ phase = 'scheduled'; there = @(Get-RestartIntent) }) }
}
