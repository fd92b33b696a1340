#Requires -Version 5.1
# Get-WinEvent over events.json: [{"log", "provider", "id", "level", "time", "record", "data", "binary", "message"}],
# data by name or, for events without names, a list; "texts": false is a provider whose messages are not installed.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

class StubEvent {
    [string]$ProviderName
    [int]$Id
    [byte]$Level
    [datetime]$TimeCreated
    [long]$RecordId
    [string]$Message
    [string]$Xml
    [string] ToXml() { return $this.Xml }
}

function New-StubEvent {
    param($From)
    $inner = ''
    $data = Get-StubValue -State $From -Name 'data'
    if ($data -is [array]) { foreach ($value in $data) { $inner += '<Data>{0}</Data>' -f [Security.SecurityElement]::Escape([string]$value) } }
    elseif ($null -ne $data) {
        foreach ($one in $data.PSObject.Properties) { $inner += '<Data Name="{0}">{1}</Data>' -f $one.Name, [Security.SecurityElement]::Escape([string]$one.Value) }
    }
    # As Windows writes what XML 1.0 does not allow.
    $inner = [regex]::Replace($inner, '[\x01-\x08\x0b\x0c\x0e-\x1f]', { param($found) '&#x{0:X};' -f [int][char]$found.Value })
    $binary = Get-StubValue -State $From -Name 'binary'
    if ($null -ne $binary) { $inner += "<Binary>$binary</Binary>" }
    $event_ = [StubEvent]::new()
    $event_.ProviderName = $From.provider
    $event_.Id = $From.id
    $event_.Level = $From.level
    # Get-WinEvent's dates are local.
    $event_.TimeCreated = ([datetime]::Parse($From.time, [Globalization.CultureInfo]::InvariantCulture, [Globalization.DateTimeStyles]::AdjustToUniversal)).ToLocalTime()
    $event_.RecordId = $From.record
    $event_.Xml = "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><EventID>$($From.id)</EventID></System><EventData>$inner</EventData></Event>"
    $event_ | Add-Member -MemberType NoteProperty -Name 'Message' -Value (Get-StubValue -State $From -Name 'message') -Force -PassThru
}

function Get-WinEvent {
    [CmdletBinding()]
    param([hashtable]$FilterHashtable, [long]$MaxEvents, [switch]$Oldest)
    $all = @()
    $file = Get-StubFile -Name 'events.json'
    if ([IO.File]::Exists($file)) { $all = @(ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($file)) | ForEach-Object { $_ }) }
    $logs = @('Application', 'Security', 'Setup', 'System') + @($all | ForEach-Object { $_.log })
    if ($logs -notcontains $FilterHashtable.LogName) {
        $PSCmdlet.ThrowTerminatingError((New-Object Management.Automation.ErrorRecord((New-Object Exception("There is not an event log on the localhost computer that matches `"$($FilterHashtable.LogName)`".")), 'NoMatchingLogsFound,Microsoft.PowerShell.Commands.GetWinEventCommand', 'ObjectNotFound', $null)))
    }
    $found = @($all | Where-Object { $_.log -eq $FilterHashtable.LogName } | ForEach-Object { New-StubEvent -From $_ } | Where-Object {
            $_.TimeCreated.ToUniversalTime() -ge $FilterHashtable.StartTime.ToUniversalTime() -and
            (-not $FilterHashtable.ContainsKey('Id') -or $FilterHashtable.Id -contains $_.Id) -and
            (-not $FilterHashtable.ContainsKey('Level') -or $FilterHashtable.Level -contains $_.Level)
        } | Sort-Object -Property RecordId)
    if ($found.Count -eq 0) {
        $PSCmdlet.ThrowTerminatingError((New-Object Management.Automation.ErrorRecord((New-Object Exception('Es wurden keine Ereignisse gefunden, die mit den angegebenen Auswahlkriterien uebereinstimmen.')), 'NoMatchingEventsFound,Microsoft.PowerShell.Commands.GetWinEventCommand', 'ObjectNotFound', $null)))
    }
    if (-not $Oldest) { [array]::Reverse($found) }
    $found | Select-Object -First $MaxEvents
}

function eventcreate.exe {
    # /L log /T level /SO source /ID n /D text, in any order.
    $given = @{}
    for ($i = 0; $i -lt $args.Count; $i += 2) { $given[$args[$i]] = $args[$i + 1] }
    $file = Get-StubFile -Name 'events.json'
    $all = @()
    if ([IO.File]::Exists($file)) { $all = @(ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($file)) | ForEach-Object { $_ }) }
    $levels = @{ ERROR = 2; WARNING = 3; INFORMATION = 4 }
    $log = $given['/L'].Substring(0, 1) + $given['/L'].Substring(1).ToLowerInvariant()
    $record = 1 + @($all | Where-Object { $_.log -eq $log }).Count
    $all += [pscustomobject]@{ log = $log; provider = $given['/SO']; id = [int]$given['/ID']; level = $levels[$given['/T']]; time = [datetime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ss.fffZ', [Globalization.CultureInfo]::InvariantCulture); record = $record; data = [pscustomobject]@{}; message = $given['/D'] }
    [IO.File]::WriteAllText($file, (ConvertTo-Json -InputObject @($all) -Depth 12))
    "`r`nSUCCESS: An event of type '$($given['/T'])' was created in the '$log' log with '$($given['/SO'])' as the source."
    $global:LASTEXITCODE = 0
}
