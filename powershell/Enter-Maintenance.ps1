#Requires -Version 5.1
<#
.SYNOPSIS
Closes sites to the public: a maintenance site takes their bindings, all but the private ones that the checks use.
.DESCRIPTION
The bindings are recorded in quiesce.json before the first is moved. A call that died half-way is completed by the next.

The page comes from app_offline.htm in a managed pool: ASP.NET 4 then answers every address and every verb with 503 and
that file. It is the one way to a 503 by files alone: URL Rewrite is not part of IIS, and with a page answered as 200 a
payment gateway would take its notification for delivered. Retry-After comes from web.config. index.html is what is left
where ASP.NET is not registered. Not http and not https (net.tcp, msmq): stays where it is, and shows in the answer.
.PARAMETER sites
[{name, check_binding}]; check_binding as IIS writes it ("*:8081:") stays with its site.
.PARAMETER html
The page. Up to 1 MB: ASP.NET ignores a larger app_offline.htm.
.PARAMETER number
Of the quiesce that this belongs to.
.OUTPUTS
As Get-IisState answers, after the fact.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][object[]]$sites,
    [Parameter(Mandatory = $true)][string]$html,
    [Parameter(Mandatory = $true)][int]$number,
    [Parameter(Mandatory = $true)][int]$fence,
    [int]$retry_after_seconds = 1800
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

Initialize-PatchingRoot
Assert-Fence -Fence $fence
$utf8 = New-Object Text.UTF8Encoding($false)
if ($utf8.GetByteCount($html) -gt 1MB) { throw (New-Failure -Id 'PageTooLarge' -Message 'The maintenance page is larger than 1 MB, which ASP.NET ignores. Make it smaller.') }
foreach ($wanted in $sites) {
    if ($null -eq (Get-IisSite -SiteName $wanted.name)) {
        throw (New-Failure -Id 'SiteMissing' -Message "IIS has no site '$($wanted.name)'. Correct engageip.sites in the estate file.")
    }
    if (@(Get-BindingFact -Site (Get-IisSite -SiteName $wanted.name) | Where-Object { $_.information -eq $wanted.check_binding }).Count -eq 0) {
        throw (New-Failure -Id 'CheckBindingMissing' -Message "Site '$($wanted.name)' has no binding '$($wanted.check_binding)': behind the maintenance page the checks would not see it. Add that binding, or correct check_url.")
    }
}
$record = Update-Quiesce -Number $number -Fence $fence -Change {
    param($quiesce)
    foreach ($wanted in $sites) {
        $site = Get-SiteFact -SiteName $wanted.name
        $open = @($site.bindings | Where-Object { $_.protocol -in @('http', 'https') -and $_.information -ne $wanted.check_binding })
        $known = @($quiesce.sites | Where-Object { $_.name -eq $site.name })
        if ($known.Count -eq 0) {
            $quiesce.sites = @($quiesce.sites) + [pscustomobject][ordered]@{
                name = $site.name; state = $site.state; pool = $site.pool; pool_state = $site.pool_state
                check_binding = $wanted.check_binding; bindings = $open
            }
            continue
        }
        # A binding that somebody added since the first call is public as well.
        foreach ($binding in $open) {
            if (@($known[0].bindings | Where-Object { Test-SameBinding -One $_ -Other $binding }).Count -eq 0) { $known[0].bindings = @($known[0].bindings) + $binding }
        }
    }
}

$folder = "$(Get-PatchingRoot)\maintenance"
$null = [IO.Directory]::CreateDirectory($folder)
# The folder above is closed to all but administrators; the worker process and the anonymous user must read this one.
$granted = Invoke-Native -File 'icacls.exe' -Arguments @($folder, '/grant', '*S-1-5-32-568:(OI)(CI)RX', '*S-1-5-17:(OI)(CI)RX')
if ($granted.code -ne 0) { throw (New-Failure -Id 'FolderProtection' -Message "IIS could not be let into ${folder}: icacls.exe answered $($granted.code). Check that the account is an administrator.") }
$config = @"
<?xml version="1.0" encoding="utf-8"?>
<configuration>
  <system.webServer>
    <modules runAllManagedModulesForAllRequests="true" />
    <httpErrors existingResponse="PassThrough" />
    <httpProtocol>
      <customHeaders>
        <add name="Retry-After" value="$retry_after_seconds" />
        <add name="Cache-Control" value="no-store" />
      </customHeaders>
    </httpProtocol>
  </system.webServer>
</configuration>
"@ -replace "`r`n", "`n"
Write-File -Path "$folder\web.config" -Bytes $utf8.GetBytes($config)
Write-File -Path "$folder\index.html" -Bytes $utf8.GetBytes($html)
Write-File -Path "$folder\app_offline.htm" -Bytes $utf8.GetBytes($html)

$maintenance = Get-MaintenanceName
if ($null -eq (Get-PoolState -PoolName $maintenance)) { $null = New-WebAppPool -Name $maintenance }
if ($null -eq (Get-IisSite -SiteName $maintenance)) {
    # On a port that IIS has opened already: a site whose port cannot be opened is stopped.
    $port = 80
    $plain = @($record.sites | ForEach-Object { $_.bindings } | Where-Object { $_.protocol -eq 'http' })
    if ($plain.Count -gt 0 -and $plain[0].information -match ':(?<port>\d+):[^:]*$') { $port = [int]$Matches.port }
    $null = New-Website -Name $maintenance -PhysicalPath $folder -ApplicationPool $maintenance -Port $port -HostHeader (Get-PlaceholderName)
}
foreach ($wanted in $sites) {
    $known = @($record.sites | Where-Object { $_.name -eq $wanted.name })[0]
    foreach ($binding in @($known.bindings)) { Move-SiteBinding -From $known.name -To $maintenance -Binding $binding }
}
$bindings = @(Get-BindingFact -Site (Get-IisSite -SiteName $maintenance))
if ($bindings.Count -gt 1) {
    foreach ($binding in @($bindings | Where-Object { $_.host -eq (Get-PlaceholderName) })) {
        Remove-WebBinding -Name $maintenance -Protocol $binding.protocol -BindingInformation $binding.information
    }
}
Start-SiteAndPool -SiteName $maintenance -PoolName $maintenance
Get-IisFact -SiteNames @($sites | ForEach-Object { $_.name })
