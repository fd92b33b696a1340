#Requires -Version 5.1
<#
.SYNOPSIS
Brings a T-SQL script to this host, checks its hash, and runs its batches in a SQL Server up to the first that fails.
.DESCRIPTION
Batches end at lines that say GO, as in sqlcmd; what else sqlcmd reads (:setvar, $(name), GO 5) is refused, and then
nothing is run.
.PARAMETER secrets
"username", "password" of the SQL login; for a share "source.username" and "source.password", for a bucket "source.url".
.OUTPUTS
batches (how many there are), done (how many ended well), messages and errors [{number, class, state, message}], seconds.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$server,
    [Parameter(Mandatory = $true)][string]$database,
    [Parameter(Mandatory = $true)][string]$source,
    [Parameter(Mandatory = $true)][string]$sha256,
    [long]$largest = 268435456,
    [string]$proxy = '',
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$staged = Receive-Package -Source $source -Sha256 $sha256 -Secrets $secrets -Proxy $proxy -Largest $largest
try {
    $checked = Open-CheckedPackage -Path $staged -Source $source -Sha256 $sha256
    try {
        $checked.stream.Position = 0
        # Strict: a text in some code page would reach the database garbled.
        $reader = New-Object IO.StreamReader($checked.stream, (New-Object Text.UTF8Encoding($false, $true)), $true)
        try { $text = $reader.ReadToEnd() }
        catch { throw (New-Failure -Id 'ScriptEncoding' -Message "$source is neither UTF-8 nor UTF-16. Nothing was run. Save it as UTF-8, and approve its new hash.") }
    }
    finally { $checked.stream.Dispose() }
}
finally { [IO.File]::Delete($staged) }
if ($text -match '(?mi)^[ \t]*(:[a-z!]|GO[ \t]+\d)|\$\([A-Za-z_]') {
    throw (New-Failure -Id 'ScriptNeedsSqlcmd' -Message "$source holds '$($Matches[0].Trim())', which only sqlcmd reads. Nothing was run. Write it as plain T-SQL, and approve its new hash.")
}
$batches = @($text -split '(?mi)^[ \t]*GO[ \t]*;?[ \t]*\r?$' | ForEach-Object { $_.Trim() } | Where-Object { $_ })
if ($batches.Count -eq 0) { throw (New-Failure -Id 'ScriptEmpty' -Message "$source holds no statement. Nothing was run. Check that it is the right file.") }
$told = Invoke-SqlBatch -Server $server -Database $database -Batches $batches -Secrets $secrets
[ordered]@{ batches = $batches.Count; done = $told.done; messages = $told.messages; errors = $told.errors; seconds = $told.seconds }
