#Requires -Version 5.1
<#
.SYNOPSIS
Runs one statement (a BACKUP, a RESTORE VERIFYONLY, ...) in the SQL Server of this host, to its end, with all it says.
.DESCRIPTION
Without "username" in the secrets it logs in as the account of this job (SYSTEM). Progress comes from message 3211.
Errors are answers, not exceptions: FireInfoMessageEventOnUserErrors hands over each as it comes, where an exception
would keep only what came last.
.PARAMETER secrets
"username", "password", for a SQL login.
.OUTPUTS
messages [{number, class, state, message}] in the order they came, at most 2000; errors the same, class above 10;
seconds.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][string]$server,
    [Parameter(Mandatory = $true)][string]$statement,
    [string]$database = 'master',
    [bool]$encrypt = $false,
    [bool]$trust_server_certificate = $false,
    [hashtable]$secrets
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$told = Invoke-SqlBatch -Server $server -Database $database -Batches @($statement) -Encrypt $encrypt -TrustServerCertificate $trust_server_certificate -Secrets $secrets
[ordered]@{ messages = $told.messages; errors = $told.errors; seconds = $told.seconds }
