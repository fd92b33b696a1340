#Requires -Version 5.1
<#
.SYNOPSIS
Runs a script of the operator's own that lies on this host, if it is the approved one, and answers with what it wrote last.
.DESCRIPTION
What is hashed is what runs: the file is read once. It runs in a module of its own, neither seeing nor changing variables of
ours, under $ErrorActionPreference = 'Stop' and without strict mode.
.PARAMETER path
On a disk of this host, or UNC.
.PARAMETER arguments
{name: text} for the parameters of the script, or null.
.OUTPUTS
answer: the last object that it wrote: a text, number or truth, a list or an object of these; anything else as its text;
null where it wrote nothing.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$path,
    [Parameter(Mandatory = $true)][string]$sha256,
    $arguments
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function ConvertTo-HookScript {
    <# .SYNOPSIS The script in these bytes, or a failure that says why it is not run. #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][byte[]]$Bytes, [Parameter(Mandatory = $true)][hashtable]$Given)
    try { $text = (New-Object Text.UTF8Encoding($false, $true)).GetString($Bytes).TrimStart([char]0xFEFF) }
    catch { throw (New-Failure -Id 'HookFailed' -Message "$path is not UTF-8. Nothing was run. Save it as UTF-8, and write its new hash into the estate file.") }
    try { $block = [ScriptBlock]::Create($text) }
    catch {
        $fault = @($_.Exception.GetBaseException().Errors)[0]
        throw (New-Failure -Id 'HookFailed' -Message "$path is not PowerShell in line $($fault.Extent.StartLineNumber), and nothing was run: $($fault.Message)")
    }
    $exit = $block.Ast.Find({ param($node) $node -is [Management.Automation.Language.ExitStatementAst] }, $true)
    if ($null -ne $exit) {
        throw (New-Failure -Id 'HookFailed' -Message "$path says exit in line $($exit.Extent.StartLineNumber), which would end the whole session without an answer. Nothing was run. Write return there, or throw where it is a failure.")
    }
    $names = @()
    if ($null -ne $block.Ast.ParamBlock) { $names = @($block.Ast.ParamBlock.Parameters | ForEach-Object { $_.Name.VariablePath.UserPath }) }
    foreach ($name in @($Given.Keys | Sort-Object)) {
        if ($names -notcontains $name) { throw (New-Failure -Id 'HookFailed' -Message "$path has no parameter $name. Nothing was run. Correct its arguments in the estate file.") }
    }
    $block
}

function ConvertTo-HookAnswer {
    <# .SYNOPSIS What JSON can say of a value; the rest as text, for a service or a file is a whole world as an object. #>
    param($Value, [int]$Levels = 6)
    if ($null -eq $Value) { return $null }
    # ToString: a text that was read from a file carries its path and more as properties.
    if ($Value -is [string] -or $Levels -eq 0) { return $Value.ToString() }
    if ($Value -is [datetime]) { return ConvertTo-IsoDate -Date $Value }
    if ($Value.GetType().IsPrimitive -or $Value -is [decimal]) { return $Value }
    $object = [ordered]@{}
    if ($Value -is [Collections.IDictionary]) {
        foreach ($key in @($Value.Keys)) { $object[[string]$key] = ConvertTo-HookAnswer -Value $Value[$key] -Levels ($Levels - 1) }
        return $object
    }
    if ($Value -is [Management.Automation.PSCustomObject]) {
        foreach ($one in $Value.PSObject.Properties) { $object[$one.Name] = ConvertTo-HookAnswer -Value $one.Value -Levels ($Levels - 1) }
        return $object
    }
    if ($Value -is [Collections.IList]) { return , @(foreach ($one in $Value) { ConvertTo-HookAnswer -Value $one -Levels ($Levels - 1) }) }
    $Value.ToString()
}

if (-not [IO.File]::Exists($path)) {
    throw (New-Failure -Id 'HookMissing' -Message "$env:COMPUTERNAME finds no file $path. Nothing was run. Put it there, or correct its path in the estate file. One on a share must be readable to everybody: a logon over the network has no password to pass on.")
}
$bytes = [IO.File]::ReadAllBytes($path)
$have = Get-BytesHash -Bytes $bytes
if ($have -ne $sha256) {
    throw (New-Failure -Id 'HookChanged' -Message "$path is not the script that was approved: its SHA-256 begins with $($have.Substring(0, 12)), approved is $($sha256.Substring(0, 12)). Nothing was run. Look at what has changed; if that is meant, write its new hash into the estate file.")
}
$given = @{}
if ($null -ne $arguments) {
    foreach ($one in $arguments.PSObject.Properties) { $given[$one.Name] = [string]$one.Value }
}
$block = ConvertTo-HookScript -Bytes $bytes -Given $given
try {
    $wrote = @(& (New-Module -ScriptBlock { }) {
            # The script sees these two: hence their long names.
            param($hookScript, $hookArguments)
            Set-StrictMode -Off
            # The bootstrap's are global. A script that adds to a $text which it never set would add to that one.
            $utf8 = $name = $code = $text = $secrets = $string = $pair = $cut = $request = $arguments = $one = $null
            # A break outside of any loop would leave our callers' loops too. What is not output goes nowhere: powershell.exe
            # prints it on stdout, where the answer goes. Errors stay: under Stop they are thrown, and programs may write there.
            do { & $hookScript @hookArguments 3>$null 4>$null 5>$null 6>$null } while ($false)
        } $block $given)
}
catch {
    $at = $_.InvocationInfo
    $where = ''
    # An argument that does not fit is an error in our line, not in one of the script.
    if ($null -ne $at -and $at.Line -notlike '*& $hookScript @hookArguments*') { $where = " in line $($at.ScriptLineNumber)" }
    # The line may be one of a module.
    if ($where -and $at.ScriptName) { $where += " of $($at.ScriptName)" }
    throw (New-Failure -Id 'HookFailed' -Message "$path failed$where, and what it did before that stays done: $($_.Exception.Message)")
}
$last = $null
if ($wrote.Count -gt 0) { $last = $wrote[-1] }
[ordered]@{ answer = ConvertTo-HookAnswer -Value $last }
