#Requires -Version 5.1
# Running installers: a package is a file whose last line is JSON ({"installs": {"product", "key", "version", "files", "hotfix",
# "registry"}, "signer", "in_use": [pools]}); packages.json may say {"codes": [...], "installs": true, "forks": looks,
# "hangs": true, "unwatched": true (it cannot be looked at; "forks" too: not a second time), "lies": true, "reused":
# true (the id of the child goes to a process of somebody else's, which starts one itself)}. What was run goes to setup.log.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Read-StubPackage {
    param([string]$Path)
    $text = [IO.File]::ReadAllText($Path, [Text.Encoding]::GetEncoding(28591)).TrimEnd("`n")
    # In a script it is a comment.
    try { ConvertFrom-Json -InputObject ($text.Substring($text.LastIndexOf("`n") + 1) -replace '^# ') } catch { return }
}

class PackageStubCertificate {
    [string]$Subject
    PackageStubCertificate([string]$subject) { $this.Subject = $subject }
    [string] GetNameInfo([object]$type, [bool]$issuer) {
        # A name that holds a comma stands in quotes.
        if ($this.Subject -match '(^|, )CN=("(?<name>[^"]*)"|(?<name>[^,]*))') { return $Matches.name }
        return $this.Subject
    }
}

function Get-AuthenticodeSignature {
    param([string[]]$FilePath)
    $package = Read-StubPackage -Path $FilePath[0]
    if ($null -eq $package) { return [pscustomobject]@{ Status = 'NotSigned'; SignerCertificate = $null } }
    $signer = Get-StubValue -State $package -Name 'signer'
    if ($null -eq $signer) { $signer = 'CN=Microsoft Corporation, O=Microsoft Corporation, L=Redmond, S=Washington, C=US' }
    [pscustomobject]@{ Status = 'Valid'; SignerCertificate = [PackageStubCertificate]::new($signer) }
}

function Write-StubProduct {
    # What an installer leaves behind.
    param($Installs)
    $key = Get-StubValue -State $Installs -Name 'key'
    if ($null -ne $key) {
        $open = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey("SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\$key")
        $open.SetValue('DisplayName', $Installs.product)
        $open.SetValue('DisplayVersion', $Installs.version)
        $open.Close()
    }
    $files = Get-StubValue -State $Installs -Name 'files'
    if ($null -ne $files) {
        foreach ($file in @($files.PSObject.Properties)) {
            $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($file.Name))
            [IO.File]::WriteAllText($file.Name, $file.Value)
        }
    }
    $keys = Get-StubValue -State $Installs -Name 'registry'
    if ($null -ne $keys) {
        foreach ($one in @($keys.PSObject.Properties)) {
            $open = [Microsoft.Win32.Registry]::LocalMachine.CreateSubKey($one.Name)
            foreach ($value in @($one.Value.PSObject.Properties)) { $open.SetValue($value.Name, $value.Value) }
            $open.Close()
        }
    }
    $hotfix = Get-StubValue -State $Installs -Name 'hotfix'
    if ($null -ne $hotfix) {
        $known = @(Get-StubValue -State (Read-StubState -Name 'cim.json') -Name 'Win32_QuickFixEngineering' | Where-Object { $null -ne $_ })
        Write-StubCim -Class 'Win32_QuickFixEngineering' -Instances @($known + [pscustomobject]@{ HotFixID = $hotfix })
    }
}

class PackageStubProcess {
    [int]$Id = 4242
    [string]$ProcessName
    [bool]$HasExited
    [object]$ExitCode
    [object]$Handle = 1
    [datetime]$StartTime = [datetime]::UtcNow
    [int]$Looks
    [bool]$Unwatched
    [bool]$Looked
    [object[]]$Strangers = @()
    [object]$Installs
    [void] Refresh() {
        if ($this.Unwatched -and $this.Looked) { throw 'No more handles are available.' }
        $this.Looked = $true
        if ($this.Looks -le 0) { return }
        $this.Looks--
        if ($this.Looks -eq 0) {
            Write-StubCim -Class 'Win32_Process' -Instances @($this.Strangers)
            if ($null -ne $this.Installs) { Write-StubProduct -Installs $this.Installs }
        }
    }
}

function New-StubProcess {
    param([int]$Id, [int]$Parent, [string]$Name, [int]$Later)
    $born = [datetime]::UtcNow.AddMilliseconds($Later).ToString('yyyy-MM-ddTHH:mm:ss.fffZ', [Globalization.CultureInfo]::InvariantCulture)
    [pscustomobject]@{ ProcessId = $Id; ParentProcessId = $Parent; Name = $Name; CreationDate = $born }
}

function Start-StubInstaller {
    param([string]$FilePath, [string[]]$ArgumentList)
    $line = "$FilePath $($ArgumentList -join ' ')"
    [IO.File]::AppendAllText((Get-StubFile -Name 'setup.log'), "$line`n")
    $file = $FilePath
    if ($line -match '"(?<file>[^"]+)"') { $file = $Matches.file }
    $package = Read-StubPackage -Path $file
    if ($null -eq $package) {
        throw (New-Object InvalidOperationException('This command cannot be run due to the error: The specified executable is not a valid application for this OS platform.'))
    }
    $fault = Read-StubState -Name 'packages.json'
    $made = [PackageStubProcess]::new()
    $made.ProcessName = [IO.Path]::GetFileNameWithoutExtension(@($FilePath -split '\\')[-1])
    $made.Unwatched = [bool](Get-StubValue -State $fault -Name 'unwatched')
    if ($made.Unwatched -and $null -eq (Get-StubValue -State $fault -Name 'forks')) {
        $made.Looked = $true
        return $made
    }
    if (Get-StubValue -State $fault -Name 'hangs') { return $made }
    $codes = @(Get-StubValue -State $fault -Name 'codes' | Where-Object { $null -ne $_ })
    if ($codes.Count -gt 0) {
        $code = [int]$codes[0]
        $fault.codes = @($codes | Select-Object -Skip 1)
        Write-StubState -Name 'packages.json' -Value $fault
    }
    else {
        $code = 0
        $pools = Get-StubValue -State (Read-StubState -Name 'iis.json') -Name 'pools'
        foreach ($pool in @(Get-StubValue -State $package -Name 'in_use' | Where-Object { $null -ne $_ })) {
            $known = $null
            if ($null -ne $pools) { $known = Get-StubValue -State $pools -Name $pool }
            if ($null -ne $known -and $known.state -eq 'Started') { $code = 1603 }
        }
    }
    if ($line -match '/l\*v "(?<log>[^"]+)"') {
        $told = @('=== Verbose logging started ===', "Property(S): ProductName = $($package.installs.product)", "Property(S): ProductVersion = $($package.installs.version)")
        if ($code -eq 1603) { $told += @("Product: $($package.installs.product) -- Error 1306. Another application has exclusive access to a file.", 'Action ended: InstallFinalize. Return value 3.') }
        $told += @("MainEngineThread is returning $code", '=== Verbose logging stopped ===')
        [IO.File]::WriteAllText($Matches.log, (($told -join "`r`n") + "`r`n"), [Text.Encoding]::Unicode)
    }
    $works = ($code -in @(0, 3010, 1641) -or (Get-StubValue -State $fault -Name 'installs')) -and -not (Get-StubValue -State $fault -Name 'lies')
    $made.HasExited = $true
    $made.ExitCode = $code
    $looks = Get-StubValue -State $fault -Name 'forks'
    if ($null -ne $looks) {
        $made.Looks = $looks
        Write-StubCim -Class 'Win32_Process' -Instances @(New-StubProcess -Id 4243 -Parent 4242 -Name 'setup.tmp' -Later 0)
        if (Get-StubValue -State $fault -Name 'reused') {
            $made.Strangers = @((New-StubProcess -Id 4243 -Parent 700 -Name 'sqlagent.exe' -Later 50), (New-StubProcess -Id 4300 -Parent 4243 -Name 'sqlps.exe' -Later 60))
        }
        if ($works) { $made.Installs = $package.installs }
    }
    elseif ($works) { Write-StubProduct -Installs $package.installs }
    $made
}

# A file's own version stands in the last line too: {"file_version": [8, 6, 0, 0]}.
function Get-Item {
    param([string[]]$LiteralPath, [switch]$Force)
    $real = Get-Command -Name 'Get-Item' -CommandType Cmdlet
    $item = & $real -LiteralPath $LiteralPath[0] -Force:$Force
    if ($item -is [IO.FileInfo]) {
        $told = Read-StubPackage -Path $LiteralPath[0]
        $numbers = @(0, 0, 0, 0)
        if ($null -ne $told -and $null -ne (Get-StubValue -State $told -Name 'file_version')) { $numbers = $told.file_version }
        $info = [pscustomobject]@{ FileMajorPart = $numbers[0]; FileMinorPart = $numbers[1]; FileBuildPart = $numbers[2]; FilePrivatePart = $numbers[3] }
        return [pscustomobject]@{ VersionInfo = $info; Attributes = $item.Attributes }
    }
    $item
}
