#Requires -Version 5.1
# Running a SQL Server patch: a package is a file whose last line is JSON ({"build", "kb", "signer"}); setup.json may say
# {"exit_code", "patches", "summary": false}. What was run goes to setup.log. Packages.ps1 runs everything else.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Read-StubPackage {
    param([string]$Path)
    $text = [IO.File]::ReadAllText($Path, [Text.Encoding]::GetEncoding(28591)).TrimEnd("`n")
    # In a script it is a comment.
    try { ConvertFrom-Json -InputObject ($text.Substring($text.LastIndexOf("`n") + 1) -replace '^# ') } catch { return }
}

class SetupStubCertificate {
    [string]$Subject
    SetupStubCertificate([string]$subject) { $this.Subject = $subject }
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
    [pscustomobject]@{ Status = 'Valid'; SignerCertificate = [SetupStubCertificate]::new($signer) }
}

function Start-Process {
    param([string]$FilePath, [string[]]$ArgumentList, [switch]$Wait, [switch]$PassThru)
    if (-not $Wait) { return (Start-StubInstaller -FilePath $FilePath -ArgumentList $ArgumentList) }
    [IO.File]::AppendAllText((Get-StubFile -Name 'setup.log'), "$FilePath $($ArgumentList -join ' ')`n")
    $tool = [IO.Path]::GetFileName($FilePath)
    if ($tool -in @('wusa.exe', 'dism.exe')) { return (Invoke-StubServicing -Tool $tool -ArgumentList $ArgumentList) }
    $package = Read-StubPackage -Path $FilePath
    if ($null -eq $package) {
        throw (New-Object InvalidOperationException('This command cannot be run due to the error: The specified executable is not a valid application for this OS platform.'))
    }
    $fault = Read-StubState -Name 'setup.json'
    $names = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\SQL')
    $instance = @($ArgumentList | Where-Object { $_ -like '/InstanceName=*' })[0].Substring(14)
    $id = $null
    if ($null -ne $names) { $id = $names.GetValue($instance) }
    $before = $null
    if ($null -ne $id) { $before = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("SOFTWARE\Microsoft\Microsoft SQL Server\$id\Setup").GetValue('PatchLevel') }
    $code = Get-StubValue -State $fault -Name 'exit_code'
    if ($null -eq $code) {
        $code = 0
        if ($null -eq $before) { $code = -2068774911 } elseif ($before -eq $package.build) { $code = -2042429437 }
    }
    if ($null -ne $before -and ($code -in @(0, 3010) -or (Get-StubValue -State $fault -Name 'patches'))) {
        [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey("SOFTWARE\Microsoft\Microsoft SQL Server\$id\Setup", $true).SetValue('PatchLevel', $package.build)
    }
    if ((Get-StubValue -State $fault -Name 'summary') -ne $false) {
        $results = @{ 0 = 'Passed'; 3010 = 'Passed but reboot required, see logs for details'; -2042429437 = 'The patch has already been applied.' }
        $result = 'Failed: see details below'
        if ($results.ContainsKey([int]$code)) { $result = $results[[int]$code] }
        $kb = Get-StubValue -State $package -Name 'kb'
        $lines = @('Overall summary:', "  Final result:                  $result", "  Exit code (Decimal):           $code",
            "  Start time:                    $([datetime]::Now.ToString('yyyy-MM-dd HH:mm:ss', [Globalization.CultureInfo]::InvariantCulture))", '  Requested action:              Patch', '',
            "Instance $instance overall summary:", "  Final result:                  $result", "  Exit code (Decimal):           $code", '  Requested action:              Patch', '',
            'Package properties:', '  Description:                   Microsoft SQL Server', "  KBArticle:                     $kb", "  PatchLevel:                    $($package.build)", '')
        $folder = "C:\Program Files\Microsoft SQL Server\$($package.build.Split('.')[0])0\Setup Bootstrap\Log"
        $null = [IO.Directory]::CreateDirectory($folder)
        [IO.File]::WriteAllText("$folder\Summary.txt", ($lines -join "`r`n"), [Text.Encoding]::Unicode)
    }
    [pscustomobject]@{ ExitCode = [int]$code }
}
