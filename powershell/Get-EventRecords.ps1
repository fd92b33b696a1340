#Requires -Version 5.1
<#
.SYNOPSIS
Events of one log since a moment, oldest first, as data: provider, id and data decide, level and message are for people.
.PARAMETER since
ISO 8601.
.PARAMETER ids
At most 20: Windows refuses longer queries.
.PARAMETER levels
1 critical, 2 error, 3 warning, 4 information; empty: all.
.OUTPUTS
events [{provider, id, level, time, record, names, data, binary, message}], complete (false: there are more than max).
data are the values in their order, names theirs (null where Windows gives none); binary is hexadecimal or null; message is
null where the provider's texts are not installed.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$log,
    [Parameter(Mandatory = $true)][string]$since,
    [AllowEmptyCollection()][int[]]$ids = @(),
    [AllowEmptyCollection()][int[]]$levels = @(),
    [int]$max = 500
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

if ($ids.Count -gt 20) { throw (New-Failure -Id 'TooManyIds' -Message "$($ids.Count) event ids in one query; Windows takes about 20. Ask in parts.") }
$filter = @{ LogName = $log; StartTime = ConvertFrom-IsoDate -Text $since }
if ($ids.Count -gt 0) { $filter['Id'] = $ids }
if ($levels.Count -gt 0) { $filter['Level'] = $levels }
try { $found = @(Get-WinEvent -FilterHashtable $filter -MaxEvents ($max + 1) -Oldest) }
catch {
    # By its id: the message is localized.
    if ($_.FullyQualifiedErrorId -notlike 'NoMatchingEventsFound*') { throw }
    $found = @()
}
# An event may hold characters that XML does not allow.
$settings = New-Object Xml.XmlReaderSettings
$settings.CheckCharacters = $false
$events = foreach ($event_ in @($found | Select-Object -First $max)) {
    $document = New-Object Xml.XmlDocument
    $reader = [Xml.XmlReader]::Create((New-Object IO.StringReader($event_.ToXml())), $settings)
    $document.Load($reader)
    $reader.Dispose()
    $values = @()
    $names = @()
    $binary = $null
    foreach ($node in @($document.SelectNodes("/*/*[local-name()='EventData']/* | /*/*[local-name()='UserData']/*/*"))) {
        if ($node.LocalName -eq 'Binary') {
            $binary = $node.InnerText
            continue
        }
        $values += $node.InnerText
        $name = $node.GetAttribute('Name')
        if ($name -eq '' -and $node.LocalName -ne 'Data') { $name = $node.LocalName }
        if ($name -eq '') { $name = $null }
        $names += $name
    }
    # A provider that was uninstalled takes its texts along.
    try { $message = $event_.Message } catch { $message = $null }
    [ordered]@{
        provider = [string]$event_.ProviderName
        id = [int]$event_.Id
        level = [int]$event_.Level
        time = ConvertTo-IsoDate -Date $event_.TimeCreated
        record = [long]$event_.RecordId
        names = $names
        data = $values
        binary = $binary
        message = $message
    }
}
[ordered]@{ events = @($events); complete = $found.Count -le $max }
