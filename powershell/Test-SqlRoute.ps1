#Requires -Version 5.1
<#
.SYNOPSIS
Whether this host reaches a SQL Server by a name: the name is looked up here, and what answers on the port speaks TDS.
.DESCRIPTION
Touches nothing and logs in nowhere: that would take the application's own password. It sends the PRELOGIN that every
login begins with, and reads the type of the answer.
.PARAMETER tls_first
The server may speak TLS from the first byte, and then answers nothing else: that it takes the connection counts.
.OUTPUTS
server, port, addresses, reached (the answer was a PRELOGIN's), error: null, the name of a socket error (HostNotFound,
ConnectionRefused, TimedOut, ...), "Silent" (connected, no answer in time) or "NotSqlServer" (it answered something else).
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$server,
    [Parameter(Mandatory = $true)][int]$port,
    [bool]$tls_first = $false,
    [int]$timeout_seconds = 10
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$answer = [ordered]@{ server = $server; port = $port; addresses = @(); reached = $false; error = $null }
$client = New-Object Net.Sockets.TcpClient
try {
    $answer.addresses = @([Net.Dns]::GetHostAddresses($server) | ForEach-Object { [string]$_ })
    $pending = $client.BeginConnect($server, $port, $null, $null)
    if (-not $pending.AsyncWaitHandle.WaitOne([timespan]::FromSeconds($timeout_seconds))) {
        $answer.error = 'TimedOut'
        return $answer
    }
    $client.EndConnect($pending)
    if ($tls_first) {
        $answer.reached = $true
        return $answer
    }
    $stream = $client.GetStream()
    $stream.ReadTimeout = 1000 * $timeout_seconds
    # Type 0x12, last packet, 26 bytes; options VERSION at 11 (6 bytes), ENCRYPTION at 17 (1 byte: off), end; their values.
    [byte[]]$prelogin = 0x12, 1, 0, 26, 0, 0, 1, 0, 0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 9, 0, 0, 0, 0, 0, 0
    $stream.Write($prelogin, 0, $prelogin.Length)
    $first = -1
    try { $first = $stream.ReadByte() }
    catch { $answer.error = 'Silent' }
    # Answers of a server are packets of type 4.
    if ($first -eq 4) { $answer.reached = $true }
    elseif ($null -eq $answer.error) { $answer.error = 'NotSqlServer' }
}
catch {
    $cause = $_.Exception.GetBaseException()
    if ($cause -isnot [Net.Sockets.SocketException]) { throw }
    $answer.error = [string]$cause.SocketErrorCode
}
finally { $client.Close() }
$answer
