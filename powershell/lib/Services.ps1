#Requires -Version 5.1
# Windows services: what they are doing, and waiting for them to do something else.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-ServiceRecord {
    <# .SYNOPSIS {name, exists, status, start_mode} of one service; status as the service controller says it ("StopPending"). #>
    param([Parameter(Mandatory = $true)][string]$ServiceName)
    # Compared here, not in WQL: a name may hold quotes and backslashes.
    $found = @(Get-CimInstance -ClassName Win32_Service | Where-Object { $_.Name -eq $ServiceName })
    if ($found.Count -eq 0) { return [ordered]@{ name = $ServiceName; exists = $false; status = $null; start_mode = $null } }
    [ordered]@{ name = $found[0].Name; exists = $true; status = $found[0].State -replace ' '; start_mode = $found[0].StartMode }
}

function Get-StopOrder {
    <# .SYNOPSIS The service and the running ones that depend on it, the latter first: nothing is stopped unrecorded. #>
    param([Parameter(Mandatory = $true)][string]$ServiceName)
    foreach ($other in @(Get-Service -Name $ServiceName -DependentServices)) {
        if ([string]$other.Status -ne 'Stopped') { Get-StopOrder -ServiceName $other.Name }
    }
    $ServiceName
}

function Wait-ServiceStatus {
    <# .SYNOPSIS Waits until the service has that status or the deadline has passed; answers the last status seen. #>
    param([Parameter(Mandatory = $true)][string]$ServiceName, [Parameter(Mandatory = $true)][string]$Status, [Parameter(Mandatory = $true)][Diagnostics.Stopwatch]$Watch, [Parameter(Mandatory = $true)][int]$TimeoutSeconds)
    while ($true) {
        $seen = (Get-ServiceRecord -ServiceName $ServiceName).status
        if ($seen -eq $Status -or $Watch.Elapsed.TotalSeconds -ge $TimeoutSeconds) { return $seen }
        Start-Sleep -Milliseconds 500
    }
}

function Start-ServiceInOrder {
    <# .SYNOPSIS Starts services one after the other; answers each as it is afterwards. One that does not start keeps no other down. #>
    param([Parameter(Mandatory = $true)][AllowEmptyCollection()][string[]]$Names, [Parameter(Mandatory = $true)][int]$TimeoutSeconds)
    $watch = [Diagnostics.Stopwatch]::StartNew()
    foreach ($one in $Names) {
        $fault = $null
        $now = Get-ServiceRecord -ServiceName $one
        if (-not $now.exists) { $fault = 'there is no such service' }
        elseif ($now.status -ne 'Running') {
            try {
                # It returns when the service runs, or fails; one that takes its time is waited for below.
                if ($now.status -ne 'StartPending') { Start-Service -Name $one }
                $now.status = Wait-ServiceStatus -ServiceName $one -Status 'Running' -Watch $watch -TimeoutSeconds $TimeoutSeconds
                if ($now.status -ne 'Running') { $fault = "still '$($now.status)' after $TimeoutSeconds s" }
            }
            catch {
                $fault = $_.Exception.GetBaseException().Message
                $now = Get-ServiceRecord -ServiceName $one
            }
        }
        [ordered]@{ name = $now.name; exists = $now.exists; status = $now.status; start_mode = $now.start_mode; error = $fault }
    }
}
