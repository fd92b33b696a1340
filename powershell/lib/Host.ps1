#Requires -Version 5.1
# What a host knows about itself and lets happen: its boot, its protected folder, the lease, programs, secrets.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Invoke-Native {
    <#
    .SYNOPSIS Runs a program and answers {code, text}; its words on stderr are words, not errors.
    #>
    param([Parameter(Mandatory = $true)][string]$File, [string[]]$Arguments = @())
    # Under Stop, Windows PowerShell makes an error of the first line on a redirected stderr.
    $ErrorActionPreference = 'Continue'
    $lines = @(& $File @Arguments 2>&1 | ForEach-Object { [string]$_ })
    [pscustomobject]@{ code = $LASTEXITCODE; text = ($lines -join "`n").Trim() }
}

function Get-OwnerFault {
    <#
    .SYNOPSIS Why a folder, or a file in it, was not made by us, as an error to throw; $null where it was.
    .DESCRIPTION Plain users may make folders below %ProgramData%, and whoever makes one owns it.
    #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $item = Get-Item -LiteralPath $Path -Force
    if ($item.Attributes -band [IO.FileAttributes]::ReparsePoint) {
        return (New-Failure -Id 'FolderIsLink' -Message "$Path is a link to another place. Remove it: patching makes the folder itself.")
    }
    # SDDL names the owner whatever the language: SY is SYSTEM (S-1-5-18), BA is Administrators (S-1-5-32-544).
    if ((Get-Acl -LiteralPath $Path).Sddl -notmatch '^O:(SY|BA)(G:|D:|$)') {
        return (New-Failure -Id 'FolderOwner' -Message "$Path belongs neither to SYSTEM nor to Administrators. Look at what is in it, then remove it: patching makes the folder itself.")
    }
    return $null
}

function Get-OtherPrincipal {
    <# .SYNOPSIS Whom else than SYSTEM and Administrators this SDDL lets in, for whatever: well-known ones by name, else the SID. #>
    param([Parameter(Mandatory = $true)][string]$Sddl)
    # Without a list everybody may do everything.
    if ($Sddl -notmatch '^[^(]*D:' -or $Sddl -match '^[^(]*D:[A-Z]*NO_ACCESS_CONTROL') { return 'Everyone' }
    $names = @{ AU = 'Authenticated Users'; BU = 'Users'; CO = 'Creator Owner'; IU = 'Interactive'; WD = 'Everyone' }
    $found = @([regex]::Matches($Sddl, '\((?:A|OA|XA|ZA);[^;]*;[^;]*;[^;]*;[^;]*;(?<who>[^;()]+)') | ForEach-Object { $_.Groups['who'].Value })
    $found | Where-Object { $_ -notin @('SY', 'BA') } | ForEach-Object { if ($names.ContainsKey($_)) { $names[$_] } else { $_ } } | Select-Object -Unique
}

function Get-FolderFault {
    <# .SYNOPSIS Why a folder, or a file in it, cannot be ours alone, as an error to throw; $null where it is. #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $fault = Get-OwnerFault -Path $Path
    if ($null -ne $fault) { return $fault }
    $others = @(Get-OtherPrincipal -Sddl (Get-Acl -LiteralPath $Path).Sddl)
    if ($others.Count -gt 0) {
        return (New-Failure -Id 'FolderAccess' -Message "$Path lets others in than SYSTEM and Administrators: $($others -join ', '). Look at what is in it, then remove it: patching makes the folder itself.")
    }
    return $null
}

function Initialize-ProtectedFolder {
    <#
    .SYNOPSIS A folder that SYSTEM and Administrators have all rights to, and nobody else has any; made where it is absent.
    .DESCRIPTION %ProgramData% lets plain users create folders, and SYSTEM runs scripts from this one: a folder that was
    there with another owner, or that leads elsewhere (a reparse point), is refused.
    #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $fresh = -not [IO.Directory]::Exists($Path)
    if ($fresh) { $null = [IO.Directory]::CreateDirectory($Path) }
    $fault = Get-OwnerFault -Path $Path
    if ($null -ne $fault) { throw $fault }
    $acl = Get-Acl -LiteralPath $Path
    $protected = $acl.Sddl -match '^[^(]*D:P' -and $acl.Sddl.Contains('(A;OICI;FA;;;SY)') -and $acl.Sddl.Contains('(A;OICI;FA;;;BA)')
    if ($protected -and @(Get-OtherPrincipal -Sddl $acl.Sddl).Count -eq 0) { return }
    try {
        # The list as a whole: icacls.exe /grant:r would leave whoever else was let in by name.
        $acl.SetSecurityDescriptorSddlForm('O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)', 'Owner, Access')
        Set-Acl -LiteralPath $Path -AclObject $acl
    }
    catch {
        throw (New-Failure -Id 'FolderProtection' -Message "$Path could not be protected: $($_.Exception.GetBaseException().Message) Check that the account is an administrator.")
    }
    $fault = Get-FolderFault -Path $Path
    if ($null -ne $fault) { throw $fault }
    if ($fresh -and @(Get-ChildItem -LiteralPath $Path -Force).Count -gt 0) {
        throw (New-Failure -Id 'FolderNotEmpty' -Message "Somebody wrote into $Path while it was being made. Look at what is in it, then remove it.")
    }
}

function Initialize-FolderBelow {
    <#
    .SYNOPSIS A folder below the root; each on the way to it, and all that lies in it, is refused unless it can be ours alone.
    .DESCRIPTION It inherits the root's protection, but what was there may let others in by name. A file that is replaced
    keeps its owner, and who may write to it.
    #>
    param([Parameter(Mandatory = $true)][string]$Path)
    $level = Get-PatchingRoot
    foreach ($name in $Path.Substring($level.Length + 1) -split '\\') {
        $level = "$level\$name"
        if (-not [IO.Directory]::Exists($level)) { break }
        $fault = Get-FolderFault -Path $level
        if ($null -ne $fault) { throw $fault }
    }
    $null = [IO.Directory]::CreateDirectory($Path)
    foreach ($item in @(Get-ChildItem -LiteralPath $Path -Force)) {
        $fault = Get-FolderFault -Path $item.FullName
        if ($null -ne $fault) { throw $fault }
    }
}

function Initialize-PatchingRoot {
    <# .SYNOPSIS The protected folder of this product; what is made inside inherits its protection. #>
    Initialize-ProtectedFolder -Path (Get-PatchingRoot)
}

function Get-MachineValue {
    <# .SYNOPSIS A value under HKEY_LOCAL_MACHINE, or $null where the key or the value is absent. #>
    param([Parameter(Mandatory = $true)][string]$Key, [Parameter(Mandatory = $true)][string]$Name)
    $open = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($Key)
    if ($null -eq $open) { return $null }
    try { $open.GetValue($Name) }
    finally { $open.Close() }
}

function Test-MachineKey {
    <# .SYNOPSIS Whether a key is there under HKEY_LOCAL_MACHINE. #>
    param([Parameter(Mandatory = $true)][string]$Key)
    $open = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($Key)
    if ($null -eq $open) { return $false }
    $open.Close()
    $true
}

function Set-VolatileValue {
    <# .SYNOPSIS Writes a value that lives until the next boot: HKLM:\SOFTWARE\EngageIPPatching\<Key>. #>
    param([Parameter(Mandatory = $true)][string]$Key, [Parameter(Mandatory = $true)][string]$Name, [Parameter(Mandatory = $true)][string]$Value)
    # The parent stays: a key made together with a volatile one would be volatile as well.
    [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey('SOFTWARE\EngageIPPatching').Close()
    $open = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey("SOFTWARE\EngageIPPatching\$Key",
        [Microsoft.Win32.RegistryKeyPermissionCheck]::ReadWriteSubTree, [Microsoft.Win32.RegistryOptions]::Volatile)
    try { $open.SetValue($Name, $Value) }
    finally { $open.Close() }
}

function Get-BootId {
    <# .SYNOPSIS What marks this boot, or $null when no acting script has run since it. #>
    Get-MachineValue -Key 'SOFTWARE\EngageIPPatching\Boot' -Name 'Id'
}

function Initialize-BootId {
    <# .SYNOPSIS What marks this boot; made when it is first asked for, gone with the next boot. #>
    Use-Lock -LockName 'boot' -Work {
        $id = Get-BootId
        if ($null -eq $id) {
            $id = [guid]::NewGuid().ToString()
            Set-VolatileValue -Key 'Boot' -Name 'Id' -Value $id
        }
        $id
    }
}

function Get-Lease {
    <# .SYNOPSIS lease.json, or $null. #>
    Read-JsonFile -Path "$(Get-PatchingRoot)\lease.json"
}

function Assert-Fence {
    <# .SYNOPSIS Refuses an act of a run whose lease another run has taken over since. #>
    param([Parameter(Mandatory = $true)][int]$Fence)
    $lease = Get-Lease
    if ($null -ne $lease -and $lease.fence -gt $Fence) {
        throw (New-Failure -Id 'FenceTooLow' -Message "Refused: this act carries fence $Fence, and the host's lease is at $($lease.fence), held by $($lease.holder) for $($lease.key). Another run has taken over this estate: stop this one.")
    }
}

function Protect-Secret {
    <# .SYNOPSIS Names and their secret texts as bytes that only this machine can open (DPAPI, machine scope). #>
    param([Parameter(Mandatory = $true)][hashtable]$Secrets)
    Add-Type -AssemblyName System.Security
    $utf8 = New-Object Text.UTF8Encoding($false)
    # No cmdlet sees a secret: module logging records what cmdlets are given. Hence no ConvertTo-Json.
    $lines = foreach ($name in @($Secrets.Keys)) { $name + '=' + [Convert]::ToBase64String($utf8.GetBytes([string]$Secrets[$name])) }
    , [Security.Cryptography.ProtectedData]::Protect($utf8.GetBytes(@($lines) -join "`n"), $null, [Security.Cryptography.DataProtectionScope]::LocalMachine)
}

function Unprotect-Secret {
    <# .SYNOPSIS The names and secret texts of such bytes, as a hashtable. #>
    param([Parameter(Mandatory = $true)][byte[]]$Bytes)
    Add-Type -AssemblyName System.Security
    $utf8 = New-Object Text.UTF8Encoding($false)
    $clear = $utf8.GetString([Security.Cryptography.ProtectedData]::Unprotect($Bytes, $null, [Security.Cryptography.DataProtectionScope]::LocalMachine))
    $secrets = @{}
    foreach ($line in $clear -split "`n") {
        $cut = $line.IndexOf('=')
        if ($cut -gt 0) { $secrets[$line.Substring(0, $cut)] = $utf8.GetString([Convert]::FromBase64String($line.Substring($cut + 1))) }
    }
    $secrets
}
