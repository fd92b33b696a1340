#Requires -Version 5.1
# The cmdlets of WebAdministration over iis.json in the host's folder:
# {"sites": {name: {"id", "state", "path", "pool", "bindings": [{"protocol", "bindingInformation", "certificateHash",
# "certificateStoreName", "sslFlags"}]}}, "pools": {name: {"state", "recycled"}}}
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Read-IisFile {
    $state = Read-StubState -Name 'iis.json'
    foreach ($name in @('sites', 'pools')) {
        if ($null -eq $state.PSObject.Properties[$name]) { Add-Member -InputObject $state -MemberType NoteProperty -Name $name -Value ([pscustomobject]@{}) }
    }
    $state
}

# What the cmdlets do while the Windows Process Activation Service is down.
function Assert-WebServer {
    $was = Get-CimInstance -ClassName Win32_Service | Where-Object { $_.Name -eq 'WAS' }
    if ($null -ne $was -and $was.State -ne 'Running') {
        throw [Runtime.InteropServices.COMException]::new('The service has not been started. (Exception from HRESULT: 0x80070426)', -2147023834)
    }
}

class IisStubBinding {
    [string]$Site
    [string]$protocol
    [string]$bindingInformation
    [string]$certificateHash
    [string]$certificateStoreName
    [int]$sslFlags
    IisStubBinding([string]$site, $from) {
        $this.Site = $site
        $this.protocol = $from.protocol
        $this.bindingInformation = $from.bindingInformation
        $this.certificateHash = $from.certificateHash
        $this.certificateStoreName = $from.certificateStoreName
        $this.sslFlags = $from.sslFlags
    }
    [void] Certify([string]$hash, [string]$store) {
        $state = Read-IisFile
        foreach ($binding in @((Get-StubValue $state.sites $this.Site).bindings)) {
            if ($binding.protocol -eq $this.protocol -and $binding.bindingInformation -eq $this.bindingInformation) {
                $binding.certificateHash = $hash
                $binding.certificateStoreName = $store
            }
        }
        Write-StubState 'iis.json' $state
        $this.certificateHash = $hash
        $this.certificateStoreName = $store
    }
    [void] AddSslCertificate([string]$hash, [string]$store) {
        if ($this.certificateHash) { throw [Runtime.InteropServices.COMException]::new('Cannot create a file when that file already exists. (Exception from HRESULT: 0x800700B7)', -2147024713) }
        $this.Certify($hash, $store)
    }
    [void] RemoveSslCertificate() { $this.Certify('', '') }
}

function Get-Website {
    param([string]$Name)
    foreach ($site in @((Read-IisFile).sites.PSObject.Properties)) {
        $one = $site.Value
        # -Name is ignored, as on the builds that answer with every site.
        [pscustomobject]@{ name = $site.Name; id = $one.id; physicalPath = $one.path; applicationPool = $one.pool; bindings = [pscustomobject]@{ Collection = @($one.bindings | ForEach-Object { [IisStubBinding]::new($site.Name, $_) }) } } |
            Add-Member -MemberType ScriptProperty -Name 'state' -Value { Assert-WebServer; (Get-StubValue (Read-IisFile).sites $this.name).state } -PassThru
    }
}

function Get-WebBinding {
    param([string]$Name, [string]$Protocol, [string]$IPAddress, [int]$Port, [string]$HostHeader)
    foreach ($binding in @((Get-StubValue (Read-IisFile).sites $Name).bindings)) {
        if (-not $Protocol -or $binding.protocol -eq $Protocol) { [IisStubBinding]::new($Name, $binding) }
    }
}

function New-WebBinding {
    param([string]$Name, [string]$Protocol = 'http', [string]$IPAddress = '*', [int]$Port, [string]$HostHeader, [int]$SslFlags, [switch]$Force)
    $state = Read-IisFile
    $site = Get-StubValue $state.sites $Name
    $information = '{0}:{1}:{2}' -f $IPAddress, $Port, $HostHeader
    if (@($site.bindings | Where-Object { $_.protocol -eq $Protocol -and $_.bindingInformation -eq $information }).Count -gt 0) {
        throw "Cannot add duplicate collection entry of type 'binding' with combined key attributes 'protocol, bindingInformation' respectively set to '$Protocol, $information'"
    }
    $site.bindings = @($site.bindings) + [pscustomobject][ordered]@{ protocol = $Protocol; bindingInformation = $information; certificateHash = ''; certificateStoreName = ''; sslFlags = $SslFlags }
    Write-StubState 'iis.json' $state
}

function Remove-WebBinding {
    param([string]$Name, [string]$Protocol, [string]$BindingInformation, [string]$IPAddress, [int]$Port, [string]$HostHeader, $InputObject)
    $state = Read-IisFile
    $site = Get-StubValue $state.sites $Name
    $site.bindings = @($site.bindings | Where-Object { $_.protocol -ne $Protocol -or $_.bindingInformation -ne $BindingInformation })
    Write-StubState 'iis.json' $state
}

function New-Website {
    param([string]$Name, [string]$PhysicalPath, [string]$ApplicationPool, [int]$Port = 80, [string]$HostHeader, [string]$IPAddress = '*', [int]$Id, [switch]$Force, [switch]$Ssl, [int]$SslFlags)
    $state = Read-IisFile
    $ids = @($state.sites.PSObject.Properties | ForEach-Object { [int]$_.Value.id }) + 0
    Add-Member -InputObject $state.sites -MemberType NoteProperty -Name $Name -Value ([pscustomobject][ordered]@{
            id = 1 + ($ids | Measure-Object -Maximum).Maximum; state = 'Started'; path = $PhysicalPath; pool = $ApplicationPool
            bindings = @([pscustomobject][ordered]@{ protocol = 'http'; bindingInformation = ('{0}:{1}:{2}' -f $IPAddress, $Port, $HostHeader); certificateHash = ''; certificateStoreName = ''; sslFlags = 0 })
        })
    Write-StubState 'iis.json' $state
    Get-Website | Where-Object { $_.name -eq $Name }
}

function Remove-Website {
    param([string]$Name)
    $state = Read-IisFile
    $state.sites.PSObject.Properties.Remove($Name)
    Write-StubState 'iis.json' $state
}

function New-WebAppPool {
    param([string]$Name, [switch]$Force)
    $state = Read-IisFile
    Add-Member -InputObject $state.pools -MemberType NoteProperty -Name $Name -Value ([pscustomobject][ordered]@{ state = 'Started' })
    Write-StubState 'iis.json' $state
    [pscustomobject]@{ name = $Name }
}

function Remove-WebAppPool {
    param([string]$Name)
    $state = Read-IisFile
    $state.pools.PSObject.Properties.Remove($Name)
    Write-StubState 'iis.json' $state
}

function Get-WebConfigurationProperty {
    param([string]$PSPath, [string]$Filter, [string]$Name, [string]$Location)
    if ($Filter -notmatch "^/system\.applicationHost/applicationPools/add\[@name='(?<pool>[^']*)'\]$") { throw "the stub knows no filter '$Filter'" }
    $pool = $Matches.pool
    @((Read-IisFile).pools.PSObject.Properties | Where-Object { $_.Name -eq $pool } | ForEach-Object { [pscustomobject]@{ Value = $_.Name } })
}

function Get-WebAppPoolState {
    param([string]$Name)
    Assert-WebServer
    [pscustomobject]@{ Value = (Get-StubValue (Read-IisFile).pools $Name).state }
}

function Set-IisStubState {
    param([string]$Kind, [string]$Name, [string]$To)
    Assert-WebServer
    $state = Read-IisFile
    $one = Get-StubValue (Get-StubValue $state $Kind) $Name
    if ($one.state -eq $To) { throw [Runtime.InteropServices.COMException]::new("An instance of the service is already running. (Exception from HRESULT: 0x80070420)", -2147023840) }
    $one.state = $To
    Write-StubState 'iis.json' $state
}

function Start-Website { param([string]$Name) Set-IisStubState -Kind 'sites' -Name $Name -To 'Started' }
function Stop-Website { param([string]$Name) Set-IisStubState -Kind 'sites' -Name $Name -To 'Stopped' }
function Start-WebAppPool { param([string]$Name) Set-IisStubState -Kind 'pools' -Name $Name -To 'Started' }
function Stop-WebAppPool { param([string]$Name) Set-IisStubState -Kind 'pools' -Name $Name -To 'Stopped' }

function Restart-WebAppPool {
    param([string]$Name)
    Assert-WebServer
    $state = Read-IisFile
    $pool = Get-StubValue $state.pools $Name
    if ($pool.state -ne 'Started') { throw [Runtime.InteropServices.COMException]::new('The service has not been started. (Exception from HRESULT: 0x80070426)', -2147023834) }
    $count = 1
    if ($null -ne $pool.PSObject.Properties['recycled']) { $count = 1 + $pool.recycled; $pool.PSObject.Properties.Remove('recycled') }
    Add-Member -InputObject $pool -MemberType NoteProperty -Name 'recycled' -Value $count
    Write-StubState 'iis.json' $state
}
