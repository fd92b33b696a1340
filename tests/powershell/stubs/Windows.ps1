#Requires -Version 5.1
# Owners and access lists of folders (acl.json: {path: {"owner": "BA", "dacl": "AI(A;OICI;FA;;;BU)"}}, without what is handed
# down; "@denied" and "@icacls" refuse) and shutdown.exe (shutdown.json); the lab keeps the same two files.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-StubDacl {
    # What Windows would show: a list of its own, and what the folders above hand down to one that is not protected.
    param($State, [string]$Path)
    if ($Path -notlike 'C:\ProgramData\*') {
        # As Windows makes %ProgramData%: plain users may make files and folders below.
        return 'PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;DCLCRPCR;;;BU)'
    }
    $own = 'AI'
    $entry = Get-StubValue -State $State -Name $Path
    if ($null -ne $entry) {
        $dacl = Get-StubValue -State $entry -Name 'dacl'
        if ($null -ne $dacl) { $own = $dacl }
    }
    if ($own -match '^(P|NO_ACCESS)') { return $own }
    $above = Get-StubDacl -State $State -Path $Path.Substring(0, $Path.LastIndexOf('\'))
    if ($above -match '^NO_ACCESS') { return $above }
    $handed = @([regex]::Matches($above, '\(A;(?<flags>[A-Z]*(OI|CI)[A-Z]*);(?<rest>[^)]*)\)') | ForEach-Object {
            "(A;$($_.Groups['flags'].Value -replace 'ID')ID;$($_.Groups['rest'].Value))"
        })
    $own + ($handed -join '')
}

function Get-Acl {
    param([string[]]$LiteralPath)
    $state = Read-StubState -Name 'acl.json'
    $entry = Get-StubValue -State $state -Name $LiteralPath[0]
    $owner = 'BA'
    if ($null -ne $entry) { $owner = $entry.owner }
    $acl = [pscustomobject]@{ Path = $LiteralPath[0]; Sddl = "O:${owner}G:SYD:$(Get-StubDacl -State $state -Path $LiteralPath[0])" }
    Add-Member -InputObject $acl -MemberType ScriptMethod -Name SetSecurityDescriptorSddlForm -Value {
        param([string]$Sddl, [string]$Sections)
        if ($Sections -ne 'Owner, Access' -or $Sddl -notmatch '^O:[A-Z]+D:') { throw "this stub sets owner and DACL, not $Sections of $Sddl" }
        $this.Sddl = $Sddl
    }
    $acl
}

function Set-Acl {
    param([string[]]$LiteralPath, $AclObject)
    $state = Read-StubState -Name 'acl.json'
    if ($null -ne (Get-StubValue -State $state -Name '@denied')) { throw (New-Object UnauthorizedAccessException('Attempted to perform an unauthorized operation.')) }
    if ($AclObject.Sddl -notmatch '^O:(?<owner>[^:]+?)(G:[^:]+?)?D:(?<dacl>.*)$') { throw "no SDDL: $($AclObject.Sddl)" }
    # Windows notes that what is handed down was worked out.
    $dacl = $Matches['dacl'] -replace '^P\(', 'PAI('
    $state.PSObject.Properties.Remove($LiteralPath[0])
    Add-Member -InputObject $state -MemberType NoteProperty -Name $LiteralPath[0] -Value ([pscustomobject]@{ owner = $Matches['owner']; dacl = $dacl })
    Write-StubState -Name 'acl.json' -Value $state
}

function icacls.exe {
    # icacls FOLDER /grant *SID:(OI)(CI)RX ...
    $state = Read-StubState -Name 'acl.json'
    $code = Get-StubValue -State $state -Name '@icacls'
    if ($null -ne $code) {
        "$($args[0]): Access is denied."
        'Successfully processed 0 files; Failed processing 1 files'
        $global:LASTEXITCODE = $code
        return
    }
    if ($args[1] -ne '/grant') { throw "this stub knows no icacls.exe $($args[1])" }
    $dacl = 'AI'
    $entry = Get-StubValue -State $state -Name $args[0]
    if ($null -ne $entry) { $dacl = $entry.dacl }
    foreach ($grant in @($args | Select-Object -Skip 2)) {
        if ($grant -notmatch '^\*(?<who>S-1-[0-9-]+):\(OI\)\(CI\)RX$') { throw "this stub knows no grant $grant" }
        $ace = "(A;OICI;0x1200a9;;;$($Matches['who'] -replace '^S-1-5-32-568$', 'IS'))"
        if (-not $dacl.Contains($ace)) { $dacl += $ace }
    }
    $state.PSObject.Properties.Remove($args[0])
    Add-Member -InputObject $state -MemberType NoteProperty -Name $args[0] -Value ([pscustomobject]@{ owner = 'BA'; dacl = $dacl })
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
