#Requires -Version 5.1
# This host's instances of SQL Server: what the registry says of them, and statements that they run.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-InstanceBuild {
    <#
    .SYNOPSIS The build that setup has left behind (PatchLevel), or null where there is no such instance.
    #>
    param([Parameter(Mandatory = $true)][string]$Instance)
    $id = Get-MachineValue -Key 'SOFTWARE\Microsoft\Microsoft SQL Server\Instance Names\SQL' -Name $Instance
    if ($null -eq $id) { return $null }
    Get-MachineValue -Key "SOFTWARE\Microsoft\Microsoft SQL Server\$id\Setup" -Name 'PatchLevel'
}

function ConvertTo-SqlFact {
    <# .SYNOPSIS A message of SQL Server as plain data. #>
    param([Parameter(Mandatory = $true)]$Told)
    [ordered]@{ number = [int]$Told.Number; class = [int]$Told.Class; state = [int]$Told.State; message = [string]$Told.Message }
}

function Invoke-SqlBatch {
    <#
    .SYNOPSIS Runs batches in one session, one after the other, up to the first that fails, with all that they say.
    .DESCRIPTION Errors are answers, not exceptions: FireInfoMessageEventOnUserErrors hands over each as it comes, where an
    exception would keep only what came last. Without "username" in the secrets it logs in as the account of this job.
    #>
    param(
        [Parameter(Mandatory = $true)][string]$Server, [Parameter(Mandatory = $true)][string]$Database, [Parameter(Mandatory = $true)][string[]]$Batches,
        [bool]$Encrypt, [bool]$TrustServerCertificate, [hashtable]$Secrets)
    $messages = [Collections.Generic.List[object]]::new()
    $errors = [Collections.Generic.List[object]]::new()
    $login = $null -ne $Secrets -and $Secrets.ContainsKey('username')
    # Its methods, not its properties: PowerShell takes a name after the dot for a key of the dictionary that it is.
    $builder = New-Object Data.Common.DbConnectionStringBuilder
    $builder.set_Item('Data Source', $Server)
    $builder.set_Item('Initial Catalog', $Database)
    $builder.set_Item('Application Name', 'EngageIP patching')
    $builder.set_Item('Pooling', $false)
    $builder.set_Item('Connect Timeout', 30)
    $builder.set_Item('Encrypt', $Encrypt)
    $builder.set_Item('TrustServerCertificate', $TrustServerCertificate)
    if (-not $login) { $builder.set_Item('Integrated Security', $true) }
    $connection = New-Object Data.SqlClient.SqlConnection($builder.get_ConnectionString())
    if ($login) {
        $connection.Credential = New-Object Data.SqlClient.SqlCredential($Secrets['username'], (New-SecureText -Secrets $Secrets -Key 'password'))
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
    $done = 0
    try {
        Write-JobProgress -Percent 0 -Message "asking $Server"
        $connection.Open()
        foreach ($batch in $Batches) {
            $command = $connection.CreateCommand()
            $command.CommandText = $batch
            # A backup takes what it takes; the job has a deadline.
            $command.CommandTimeout = 0
            $null = $command.ExecuteNonQuery()
            if ($errors.Count -gt 0) { break }
            $done++
            if ($Batches.Count -gt 1) { Write-JobProgress -Percent ([int](100 * $done / $Batches.Count)) -Message "batch $done of $($Batches.Count)" }
        }
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
    [ordered]@{ messages = @($messages.ToArray()); errors = @($errors.ToArray()); done = $done; seconds = [int]$watch.Elapsed.TotalSeconds }
}
