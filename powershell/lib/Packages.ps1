#Requires -Version 5.1
# Packages: bringing a file to this host, checking it, running it to its end, and reading which version is installed.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-WebFault {
    <# .SYNOPSIS The WebException in a chain of exceptions, or $null. #>
    param($Fault)
    while ($null -ne $Fault -and $Fault -isnot [Net.WebException]) { $Fault = $Fault.InnerException }
    $Fault
}

function Copy-ToStaging {
    <# .SYNOPSIS Writes a stream to a file, and breaks off at $Largest bytes. #>
    param([Parameter(Mandatory = $true)]$From, [Parameter(Mandatory = $true)][string]$To, [Parameter(Mandatory = $true)][long]$Total, [Parameter(Mandatory = $true)][long]$Largest, [Parameter(Mandatory = $true)][string]$Source)
    $tooLarge = New-Failure -Id 'PackageTooLarge' -Message "$Source has more than $(ConvertTo-SizeText -Bytes $Largest). Nothing was run. Check that it is the right file, or raise largest_mb of the package."
    if ($Total -gt $Largest) { throw $tooLarge }
    $meter = New-ProgressMeter -Total $Total -Message "fetching $Source"
    $out = New-Object IO.FileStream($To, [IO.FileMode]::Create, [IO.FileAccess]::Write, [IO.FileShare]::None)
    try {
        $buffer = [byte[]]::new(1MB)
        $sum = 0L
        while (($read = $From.Read($buffer, 0, $buffer.Length)) -gt 0) {
            $sum += $read
            # What the server said beforehand need not be what it sends.
            if ($sum -gt $Largest) { throw $tooLarge }
            $out.Write($buffer, 0, $read)
            Add-Progress -Meter $meter -Bytes $read
        }
        $out.Flush($true)
    }
    finally { $out.Dispose() }
}

function Save-Download {
    <# .SYNOPSIS Downloads a URL, which may be a secret: messages name $Source and the server only. #>
    param([Parameter(Mandatory = $true)][string]$Url, [Parameter(Mandatory = $true)][string]$Source, [Parameter(Mandatory = $true)][string]$To, [string]$Proxy, [Parameter(Mandatory = $true)][long]$Largest)
    $where = ([uri]$Url).GetLeftPart([UriPartial]::Authority)
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    $request = [Net.WebRequest]::Create([uri]$Url)
    # SYSTEM has no proxy of its own: what it would find is somebody's leftover.
    $request.Proxy = $null
    if ($Proxy) { $request.Proxy = New-Object Net.WebProxy($Proxy) }
    # A redirect could lead to plain HTTP, or hand a signed URL to somebody else.
    $request.AllowAutoRedirect = $false
    $request.Timeout = 60000
    $request.ReadWriteTimeout = 300000
    $response = $null
    try {
        try { $response = $request.GetResponse() }
        catch {
            $fault = Get-WebFault -Fault $_.Exception
            if ($null -eq $fault) { throw (New-Failure -Id 'DownloadFailed' -Message "${Source}: the connection to $where broke: $($_.Exception.GetBaseException().Message)") }
            if ($null -eq $fault.Response) { throw (New-Failure -Id 'NoAnswer' -Message "${Source}: $where does not answer $env:COMPUTERNAME ($($fault.Status)). Check the name, the route, the firewall, and that this host trusts its certificate.") }
            $response = $fault.Response
        }
        if ([int]$response.StatusCode -ne 200) {
            throw (New-Failure -Id 'DownloadRefused' -Message "${Source}: $where answered HTTP $([int]$response.StatusCode). Nothing was run. Check that the file is there and may be read.")
        }
        $stream = $response.GetResponseStream()
        try { Copy-ToStaging -From $stream -To $To -Total ([Math]::Max(0L, [long]$response.ContentLength)) -Largest $Largest -Source $Source }
        catch {
            if ($_.FullyQualifiedErrorId -like 'PackageTooLarge*') { throw }
            throw (New-Failure -Id 'DownloadFailed' -Message "${Source}: the connection to $where broke: $($_.Exception.GetBaseException().Message)")
        }
        finally { $stream.Dispose() }
    }
    finally {
        if ($null -ne $response) { $response.Dispose() }
    }
}

function Receive-Package {
    <#
    .SYNOPSIS Brings a package into this product's protected folder, and answers with its path there.
    .DESCRIPTION Also one that lies on a disk of this host: where it lies others may write. One that was brought before
    and has its hash is not fetched again.
    #>
    param([Parameter(Mandatory = $true)][string]$Source, [Parameter(Mandatory = $true)][string]$Sha256, [hashtable]$Secrets, [string]$Proxy, [Parameter(Mandatory = $true)][long]$Largest)
    $folder = "$(Get-PatchingRoot)\staging\packages\$Sha256"
    # An installer loads what lies beside it.
    Initialize-FolderBelow -Path $folder
    $staged = "$folder\$(@($Source -split '[\\/]')[-1])"
    if ([IO.File]::Exists($staged)) {
        $there = Get-FileDigest -Path $staged -Meter (New-ProgressMeter -Total (Get-FileLength -Path $staged) -Message "hashing $staged")
        if ($there.sha256 -eq $Sha256) { return $staged }
        [IO.File]::Delete($staged)
    }
    $partial = "$staged.partial"
    try {
        if ($Source -match '^(https|s3)://') {
            $url = $Source
            if ($null -ne $Secrets -and $Secrets.ContainsKey('source.url')) { $url = $Secrets['source.url'] }
            Save-Download -Url $url -Source $Source -To $partial -Proxy $Proxy -Largest $Largest
        }
        else {
            Use-Share -Path $Source -Secrets $Secrets -Key 'source' -Work {
                if (-not [IO.File]::Exists($Source)) { throw (New-Failure -Id 'PackageMissing' -Message "$env:COMPUTERNAME finds no file $Source. Nothing was run. Put it there, or correct source of the package.") }
                $from = Open-SharedRead -Path $Source
                try { Copy-ToStaging -From $from -To $partial -Total $from.Length -Largest $Largest -Source $Source }
                finally { $from.Dispose() }
            }
        }
        [IO.File]::Move($partial, $staged)
    }
    finally {
        if ([IO.File]::Exists($partial)) { [IO.File]::Delete($partial) }
    }
    $staged
}

function Open-CheckedPackage {
    <#
    .SYNOPSIS Checks hash and signer of a staged package; answers {stream, signer}, or throws where it must not run.
    .DESCRIPTION The stream stays open until the caller disposes it: others may read the file meanwhile, nobody can write
    to it, so that what runs is what was checked.
    #>
    param([Parameter(Mandatory = $true)][string]$Path, [Parameter(Mandatory = $true)][string]$Source, [Parameter(Mandatory = $true)][string]$Sha256, [string]$Publisher)
    $stream = [IO.File]::Open($Path, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::Read)
    try {
        $sha = [Security.Cryptography.SHA256]::Create()
        try { $have = ([BitConverter]::ToString($sha.ComputeHash($stream)) -replace '-').ToLowerInvariant() }
        finally { $sha.Dispose() }
        if ($have -ne $Sha256) {
            throw (New-Failure -Id 'PackageChanged' -Message "$Source is not the file that was approved: its SHA-256 is $have, approved is $Sha256. Nothing was run. Fetch the file anew from its publisher; if the new one is meant, approve its hash in updates.packages.")
        }
        $signer = $null
        if ($Publisher) {
            $signature = Get-AuthenticodeSignature -FilePath $Path
            $status = [string]$signature.Status
            if ($null -ne $signature.SignerCertificate) {
                $subject = [string]$signature.SignerCertificate.Subject
                # SimpleName is the CN where there is one, and else something that is no name of a publisher.
                if ($subject -match '(^|, ?)CN=') { $signer = [string]$signature.SignerCertificate.GetNameInfo([Security.Cryptography.X509Certificates.X509NameType]::SimpleName, $false) }
            }
            if ($status -ne 'Valid' -or $signer -cne $Publisher) {
                $by = 'nobody'
                if ($signer) { $by = "'$signer'" }
                throw (New-Failure -Id 'PackageSignature' -Message "$Source is not signed by '$Publisher': its signature is $status, its signer $by. Nothing was run. Ask the publisher which certificate signs it; publisher of the package must be that certificate's CN.")
            }
        }
    }
    catch {
        $stream.Dispose()
        throw
    }
    [pscustomobject]@{ stream = $stream; signer = $signer }
}

function Find-ProductVersion {
    <# .SYNOPSIS DisplayVersion of a product by its DisplayName or its code; the highest text where it is there twice. #>
    param([Parameter(Mandatory = $true)][string]$Name)
    $found = @()
    foreach ($root in @('SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall', 'SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall')) {
        $open = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($root)
        if ($null -eq $open) { continue }
        try { $keys = @($open.GetSubKeyNames()) }
        finally { $open.Close() }
        foreach ($key in $keys) {
            if ($key -ne $Name -and (Get-MachineValue -Key "$root\$key" -Name 'DisplayName') -ne $Name) { continue }
            $version = Get-MachineValue -Key "$root\$key" -Name 'DisplayVersion'
            if ($null -ne $version) { $found += [string]$version }
        }
    }
    $found
}

function Read-PackageVersion {
    <#
    .SYNOPSIS Every version that a probe {kind, name, value, pattern} finds on this host; nothing where it is not installed.
    #>
    param([Parameter(Mandatory = $true)]$Probe)
    if ($Probe.kind -eq 'product') { return Find-ProductVersion -Name $Probe.name }
    if ($Probe.kind -eq 'hotfix') {
        return @(Get-CimInstance -ClassName Win32_QuickFixEngineering | Where-Object { $_.HotFixID -eq $Probe.name } | ForEach-Object { [string]$_.HotFixID })
    }
    if ($Probe.kind -eq 'registry') {
        $value = Get-MachineValue -Key $Probe.name -Name $Probe.value
        if ($null -ne $value) { [string]$value }
        return
    }
    if (-not [IO.File]::Exists($Probe.name)) { return }
    if ($null -eq $Probe.pattern) {
        # The numbers: FileVersion is a text, and may say anything.
        $info = (Get-Item -LiteralPath $Probe.name).VersionInfo
        return '{0}.{1}.{2}.{3}' -f $info.FileMajorPart, $info.FileMinorPart, $info.FileBuildPart, $info.FilePrivatePart
    }
    $reader = New-Object IO.StreamReader((Open-SharedRead -Path $Probe.name), [Text.Encoding]::UTF8, $true)
    try { $match = [regex]::Match($reader.ReadToEnd(), $Probe.pattern) }
    finally { $reader.Dispose() }
    if ($match.Success) { $match.Groups[1].Value }
}

function Save-Installer {
    <#
    .SYNOPSIS Notes which processes of an installer were seen last, in the folder of the job that this runs in: installer.json.
    .DESCRIPTION They outlive the job where it is ended; who comes afterwards asks for them (Find-LeftProcess).
    #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Running)
    $folder = Get-Variable -Name 'PatchJobFolder' -ValueOnly -ErrorAction SilentlyContinue
    if ($null -eq $folder) { return }
    try { Write-JsonFile -Path "$folder\installer.json" -Value ([ordered]@{ processes = $Running }) }
    catch { $null = $_ } # a full disk: it is watched all the same
}

function Add-Descendant {
    <#
    .SYNOPSIS Adds to a family [{id, born, ended}] the processes of $All that those in it have started; the first of it is held open.
    .DESCRIPTION Windows gives the id of a process that has ended to the next one, unless somebody holds it open: what has started
    after its parent's end is another's child.
    #>
    param([Parameter(Mandatory = $true)][Collections.ArrayList]$Family, [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$All)
    $now = [datetime]::UtcNow
    foreach ($one in @($Family | Select-Object -Skip 1 | Where-Object { $null -eq $_.ended })) {
        $same = @($All | Where-Object { $_.id -eq $one.id })
        if (@($same | Where-Object { $_.born -eq $one.born }).Count -gt 0) { continue }
        $one.ended = $now
        if ($same.Count -gt 0) { $one.ended = $same[0].born }
    }
    do {
        $before = $Family.Count
        foreach ($each in $All) {
            if (@($Family | Where-Object { $_.id -eq $each.id -and ($_.born -eq $each.born -or $_.id -eq $Family[0].id) }).Count -gt 0) { continue }
            $parents = @($Family | Where-Object { $_.id -eq $each.parent -and $_.born -le $each.born -and ($null -eq $_.ended -or $each.born -le $_.ended) })
            if ($parents.Count -gt 0) { $null = $Family.Add(@{ id = $each.id; born = $each.born; ended = $null }) }
        }
    } while ($Family.Count -gt $before)
}

function Wait-ProcessTree {
    <#
    .SYNOPSIS Waits until a process and all that it has started have ended, or for the deadline; $Sight.running is {id, name, started} of those that run.
    .DESCRIPTION A bootstrapper may end long before the installers that it has started. Nothing is ever killed. Whenever others run
    than at the look before, they are noted (Save-Installer). $Sight.running is the process itself
    at first, and what was seen last where this throws.
    #>
    param([Parameter(Mandatory = $true)]$Process, [Parameter(Mandatory = $true)][hashtable]$Sight, [Parameter(Mandatory = $true)][datetime]$Since, [Parameter(Mandatory = $true)][Diagnostics.Stopwatch]$Watch, [Parameter(Mandatory = $true)][int]$Seconds, [Parameter(Mandatory = $true)][string]$Message)
    # What it is called nobody tells any more once it has ended.
    $own = $Sight.running[0]
    $family = [Collections.ArrayList]@(@{ id = [long]$Process.Id; born = $Since; ended = $null })
    $noted = "$($Process.Id)"
    while ($true) {
        $Process.Refresh()
        # Before the others are looked at: a child that it starts last is then among them.
        $ended = [bool]$Process.HasExited
        $seen = $true
        $all = @()
        # Ids are used again: what began before cannot be a child of ours.
        try {
            $all = @(Get-CimInstance -ClassName Win32_Process | Where-Object { $null -ne $_.CreationDate -and $_.CreationDate.ToUniversalTime() -ge $Since } |
                    ForEach-Object { @{ id = [long]$_.ProcessId; parent = [long]$_.ParentProcessId; name = [string]$_.Name; born = $_.CreationDate.ToUniversalTime() } })
        }
        catch { $seen = $false } # an installer may restart WMI: what cannot be seen now is looked at again
        if ($seen) { Add-Descendant -Family $family -All $all }
        $running = @(foreach ($each in $all) {
                $ours = @($family | Select-Object -Skip 1 | Where-Object { $_.id -eq $each.id -and $_.born -eq $each.born })
                if ($ours.Count -gt 0) { [ordered]@{ id = $each.id; name = $each.name; started = ConvertTo-IsoDate -Date $each.born } }
            })
        if (-not $ended) { $running = @($own) + $running }
        # What cannot be seen now has not ended for that: of the others what was seen last still counts.
        if (-not $seen) { $running = @($Sight.running | Where-Object { $_.id -ne $Process.Id -or -not $ended }) }
        $Sight.running = $running
        $ids = @($running | ForEach-Object { $_.id }) -join ' '
        if ($ids -ne $noted) {
            Save-Installer -Running $running
            $noted = $ids
        }
        if ($running.Count -eq 0 -and $seen) { return }
        if ($Watch.Elapsed.TotalSeconds -ge $Seconds) { return }
        Write-JobProgress -Percent ([int][Math]::Min(99, 100 * $Watch.Elapsed.TotalSeconds / $Seconds)) -Message "$Message ($(@($running | ForEach-Object { $_.name }) -join ', '))"
        Start-Sleep -Seconds 1
    }
}
