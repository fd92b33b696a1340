#Requires -Version 5.1
# IIS by the cmdlets of WebAdministration, which every Windows Server with IIS has (IISAdministration came later).
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-MaintenanceName {
    <# .SYNOPSIS The site and pool that hold the public bindings while the portals are closed. #>
    'EngageIPMaintenance'
}

function Get-PlaceholderName {
    <# .SYNOPSIS A host header that nobody asks for: IIS makes no site without a binding. #>
    'maintenance.engageip.invalid'
}

function Get-IisSite {
    <# .SYNOPSIS One site, or nothing. #>
    param([Parameter(Mandatory = $true)][string]$SiteName)
    # Get-Website -Name answers with every site on some builds.
    Get-Website | Where-Object { $_.name -eq $SiteName } | Select-Object -First 1
}

function Read-IisState {
    <# .SYNOPSIS A state out of the running web server; 'Unknown' while its services (WAS, W3SVC) are down. #>
    param([Parameter(Mandatory = $true)][ScriptBlock]$Read)
    try {
        # A property that cannot be read is an exception to some, and empty to others.
        $seen = [string](& $Read)
        if ($seen) { $seen } else { 'Unknown' }
    }
    catch {
        if ($_.Exception.GetBaseException() -isnot [Runtime.InteropServices.COMException]) { throw }
        'Unknown'
    }
}

function Get-PoolState {
    <# .SYNOPSIS 'Started', 'Stopped', ... or $null where there is no such pool. #>
    param([Parameter(Mandatory = $true)][string]$PoolName)
    # The configuration is asked first: Get-WebAppPoolState fails alike for an absent pool and a stopped server.
    $filter = "/system.applicationHost/applicationPools/add[@name='$PoolName']"
    if ($null -eq (Get-WebConfigurationProperty -PSPath 'MACHINE/WEBROOT/APPHOST' -Filter $filter -Name 'name' -WarningAction SilentlyContinue)) { return $null }
    Read-IisState -Read { (Get-WebAppPoolState -Name $PoolName).Value }
}

function Get-BindingFact {
    <# .SYNOPSIS The bindings of a site as plain data. #>
    param([Parameter(Mandatory = $true)]$Site)
    foreach ($binding in @($Site.bindings.Collection)) {
        $information = [string]$binding.bindingInformation
        $header = ''
        if ($binding.protocol -in @('http', 'https')) { $header = $information.Substring($information.LastIndexOf(':') + 1) }
        [pscustomobject][ordered]@{
            protocol = [string]$binding.protocol
            information = $information
            host = $header
            certificate_hash = [string]$binding.certificateHash
            certificate_store = [string]$binding.certificateStoreName
            ssl_flags = [int]$binding.sslFlags
        }
    }
}

function Get-SiteFact {
    <# .SYNOPSIS One site as plain data. #>
    param([Parameter(Mandatory = $true)][string]$SiteName)
    $site = Get-IisSite -SiteName $SiteName
    if ($null -eq $site) {
        return [ordered]@{ name = $SiteName; exists = $false; id = $null; state = $null; path = $null; pool = $null; pool_state = $null; bindings = @() }
    }
    $pool = [string]$site.applicationPool
    [ordered]@{
        name = [string]$site.name
        exists = $true
        id = [long]$site.id
        state = Read-IisState -Read { $site.state }
        path = [string]$site.physicalPath
        pool = $pool
        pool_state = Get-PoolState -PoolName $pool
        bindings = @(Get-BindingFact -Site $site)
    }
}

function Get-IisFact {
    <# .SYNOPSIS What every script about IIS answers: the sites, and the maintenance site. #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$SiteNames)
    $maintenance = Get-SiteFact -SiteName (Get-MaintenanceName)
    [ordered]@{
        sites = @($SiteNames | ForEach-Object { Get-SiteFact -SiteName $_ })
        maintenance = [ordered]@{ exists = $maintenance.exists; state = $maintenance.state; bindings = $maintenance.bindings }
    }
}

function Test-SameBinding {
    <# .SYNOPSIS Whether two bindings claim the same address. #>
    param([Parameter(Mandatory = $true)]$One, [Parameter(Mandatory = $true)]$Other)
    $One.protocol -eq $Other.protocol -and $One.information -eq $Other.information
}

function Find-SiteBinding {
    <# .SYNOPSIS That binding of the site, or nothing. #>
    param([Parameter(Mandatory = $true)][string]$SiteName, [Parameter(Mandatory = $true)]$Binding)
    @(Get-BindingFact -Site (Get-IisSite -SiteName $SiteName)) | Where-Object { Test-SameBinding -One $_ -Other $Binding } | Select-Object -First 1
}

function Move-SiteBinding {
    <#
    .SYNOPSIS Takes a binding from one site and gives it to another, with its certificate; either half may be done already.
    .DESCRIPTION It is taken away first: two started sites cannot hold one binding. What is lost in between is on disk.
    #>
    param([Parameter(Mandatory = $true)][string]$From, [Parameter(Mandatory = $true)][string]$To, [Parameter(Mandatory = $true)]$Binding)
    if ($null -ne (Get-IisSite -SiteName $From) -and $null -ne (Find-SiteBinding -SiteName $From -Binding $Binding)) {
        Remove-WebBinding -Name $From -Protocol $Binding.protocol -BindingInformation $Binding.information
    }
    if ($null -eq (Find-SiteBinding -SiteName $To -Binding $Binding)) {
        # From the right: an IPv6 address has colons of its own.
        $null = $Binding.information -match '^(?<address>.*):(?<port>\d+):(?<header>[^:]*)$'
        New-WebBinding -Name $To -Protocol $Binding.protocol -IPAddress $Matches.address -Port ([int]$Matches.port) -HostHeader $Matches.header -SslFlags $Binding.ssl_flags
    }
    # With the central certificate store (ssl_flags 2 and 3) a binding has no certificate of its own.
    if ($Binding.protocol -ne 'https' -or $Binding.certificate_hash -eq '') { return }
    $made = @(Get-WebBinding -Name $To -Protocol 'https' | Where-Object { $_.bindingInformation -eq $Binding.information })[0]
    if ([string]$made.certificateHash -eq $Binding.certificate_hash) { return }
    if ([string]$made.certificateHash -ne '') { $made.RemoveSslCertificate() }
    $made.AddSslCertificate($Binding.certificate_hash, $Binding.certificate_store)
}

function Start-SiteAndPool {
    <# .SYNOPSIS Starts what is not started; an empty name is nothing to start. #>
    param([string]$SiteName, [string]$PoolName)
    if ($PoolName -and (Get-PoolState -PoolName $PoolName) -ne 'Started') { Start-WebAppPool -Name $PoolName }
    if ($SiteName -and (Read-IisState -Read { (Get-IisSite -SiteName $SiteName).state }) -ne 'Started') { Start-Website -Name $SiteName }
}

function Open-Site {
    <#
    .SYNOPSIS Gives sites their recorded bindings back and starts them; answers a line for each that does not start.
    .DESCRIPTION The maintenance site goes with its last binding.
    #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$SiteNames, [Parameter(Mandatory = $true)][AllowEmptyCollection()][object[]]$Recorded)
    $maintenance = Get-MaintenanceName
    $present = @($Recorded | Where-Object { $SiteNames -contains $_.name -and $null -ne (Get-IisSite -SiteName $_.name) })
    # Addresses first, for all of them: that needs no running service.
    foreach ($known in $present) {
        foreach ($binding in @($known.bindings)) { Move-SiteBinding -From $maintenance -To $known.name -Binding $binding }
    }
    if ($present.Count -gt 0 -or $Recorded.Count -gt 0) {
        $page = Get-IisSite -SiteName $maintenance
        if ($null -ne $page -and @(Get-BindingFact -Site $page | Where-Object { $_.host -ne (Get-PlaceholderName) }).Count -eq 0) {
            Remove-Website -Name $maintenance
            if ($null -ne (Get-PoolState -PoolName $maintenance)) { Remove-WebAppPool -Name $maintenance }
        }
    }
    foreach ($known in $present) {
        $pool = ''
        $site = ''
        if ($known.pool_state -eq 'Started') { $pool = $known.pool }
        if ($known.state -eq 'Started') { $site = $known.name }
        try { Start-SiteAndPool -SiteName $site -PoolName $pool }
        catch { "$($known.name): $($_.Exception.GetBaseException().Message)" }
    }
}
