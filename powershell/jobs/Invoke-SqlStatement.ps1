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

function ConvertTo-SqlFact {
    param($Told)
    [ordered]@{ number = [int]$Told.Number; class = [int]$Told.Class; state = [int]$Told.State; message = [string]$Told.Message }
}

$messages = [Collections.Generic.List[object]]::new()
$errors = [Collections.Generic.List[object]]::new()
$login = $null -ne $secrets -and $secrets.ContainsKey('username')
# Its methods, not its properties: PowerShell takes a name after the dot for a key of the dictionary that it is.
$builder = New-Object Data.Common.DbConnectionStringBuilder
$builder.set_Item('Data Source', $server)
$builder.set_Item('Initial Catalog', $database)
$builder.set_Item('Application Name', 'EngageIP patching')
$builder.set_Item('Pooling', $false)
$builder.set_Item('Connect Timeout', 30)
$builder.set_Item('Encrypt', $encrypt)
$builder.set_Item('TrustServerCertificate', $trust_server_certificate)
if (-not $login) { $builder.set_Item('Integrated Security', $true) }
$connection = New-Object Data.SqlClient.SqlConnection($builder.get_ConnectionString())
if ($login) {
    $connection.Credential = New-Object Data.SqlClient.SqlCredential($secrets['username'], (New-SecureText -Secrets $secrets -Key 'password'))
}
$connection.FireInfoMessageEventOnUserErrors = $true
$connection.add_InfoMessage({
        param($from, $told)
        foreach ($one in @($told.Errors)) {
            if ($one.Class -gt 10) { $errors.Add((ConvertTo-SqlFact -Told $one)) }
            elseif ($messages.Count -lt 2000) { $messages.Add((ConvertTo-SqlFact -Told $one)) }
            # The number stands first in some languages and last in others.
            if ($one.Number -eq 3211 -and $one.Message -match '\d+') {
                try { Write-JobProgress -Percent ([int]$Matches[0]) -Message $one.Message }
                catch { Write-Verbose "no progress written: $($_.Exception.Message)" }
            }
        }
    })
$watch = [Diagnostics.Stopwatch]::StartNew()
try {
    Write-JobProgress -Percent 0 -Message "asking $server"
    $connection.Open()
    $command = $connection.CreateCommand()
    $command.CommandText = $statement
    # A backup takes what it takes; the job has a deadline.
    $command.CommandTimeout = 0
    $null = $command.ExecuteNonQuery()
}
catch {
    # Class 17 and above, or no connection: still an exception.
    $fault = $_.Exception
    while ($null -ne $fault -and $fault.GetType().Name -ne 'SqlException') { $fault = $fault.InnerException }
    if ($null -eq $fault) { throw }
    foreach ($one in @($fault.Errors)) {
        if ($one.Class -gt 10) { $errors.Add((ConvertTo-SqlFact -Told $one)) } else { $messages.Add((ConvertTo-SqlFact -Told $one)) }
    }
}
finally { $connection.Dispose() }
[ordered]@{ messages = @($messages.ToArray()); errors = @($errors.ToArray()); seconds = [int]$watch.Elapsed.TotalSeconds }
