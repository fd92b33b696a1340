#Requires -Version 5.1
# Reads one JSON document from stdin, runs the script in it, and answers with one JSON document on stdout.
# Travels as -EncodedCommand; the sender strips comment lines, and base64 of UTF-16 must stay under 8,191 characters.
[CmdletBinding()] param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
# powershell.exe prints these streams on stdout, where the answer goes.
$ProgressPreference = $WarningPreference = $InformationPreference = 'SilentlyContinue'
$utf8 = New-Object Text.UTF8Encoding($false)
$name = $null
$code = 1
try {
    $text = (New-Object IO.StreamReader([Console]::OpenStandardInput(), $utf8)).ReadToEnd()
    # Secrets are cut out before any cmdlet sees the text: module logging records what cmdlets are given.
    $secrets = $null
    $string = '"((?:[^"\\]|\\.)*)"'
    $pair = "\s*$string\s*:\s*$string\s*"
    $cut = [regex]::Match($text, "(?<!\\)`"secrets`"\s*:\s*\{($pair(?:,$pair)*)?\s*\}")
    if ($cut.Success) {
        $secrets = @{}
        foreach ($one in [regex]::Matches($cut.Groups[1].Value, $pair)) {
            $secrets[[regex]::Unescape($one.Groups[1].Value)] = [regex]::Unescape($one.Groups[2].Value)
        }
        $text = $text.Remove($cut.Index, $cut.Length).Insert($cut.Index, '"secrets":null')
    }
    $request = ConvertFrom-Json -InputObject $text
    $name = $request.name
    . ([ScriptBlock]::Create($request.library))
    $arguments = @{}
    foreach ($one in $request.parameters.PSObject.Properties) { $arguments[$one.Name] = $one.Value }
    if ($null -ne $secrets) { $arguments['secrets'] = $secrets }
    $all = @(& ([ScriptBlock]::Create($request.script)) @arguments)
    if ($all.Count -ne 1) { throw "$name returned $($all.Count) objects, not one." }
    $answer = [ordered]@{ ok = $true; value = $all[0] }
    $code = 0
}
catch {
    $cause = $_.Exception.GetBaseException()
    $line = 0
    if ($_.InvocationInfo) { $line = $_.InvocationInfo.ScriptLineNumber }
    $answer = [ordered]@{ ok = $false; error = [ordered]@{ type = $cause.GetType().FullName; message = $cause.Message; hresult = $cause.HResult; script = $name; line = $line; id = $_.FullyQualifiedErrorId } }
}
$bytes = $utf8.GetBytes((ConvertTo-Json -InputObject $answer -Depth 12 -Compress))
$out = [Console]::OpenStandardOutput()
$out.Write($bytes, 0, $bytes.Length)
$out.Flush()
exit $code
