#Requires -Version 5.1
# System.Data.SqlClient, which the engine does not have: what a statement says is scripted in sqlclient.json:
# {"logins": {name: password}, "statements": {text: {"messages": [[number, class, state, text]], "fatal": [[...]]}}}.
# What it was asked goes to sqlclient.log.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

class SqlError {
    [int]$Number
    [byte]$Class
    [byte]$State
    [string]$Message
    SqlError($from) {
        $this.Number = $from[0]
        $this.Class = $from[1]
        $this.State = $from[2]
        $this.Message = $from[3]
    }
}

class SqlException : Exception {
    [object[]]$Errors
    SqlException([object[]]$told) : base($told[0].Message, [ComponentModel.Win32Exception]::new(53)) { $this.Errors = $told }
}

class SqlCredential {
    [string]$UserId
    [Security.SecureString]$Password
    SqlCredential([string]$user, [Security.SecureString]$password) {
        if (-not $password.IsReadOnly()) { throw 'Password must be marked as read only.' }
        $this.UserId = $user
        $this.Password = $password
    }
}

class SqlCommand {
    [object]$Connection
    [string]$CommandText
    [int]$CommandTimeout = 30
    [int] ExecuteNonQuery() { return $this.Connection.Execute($this) }
}

class SqlConnection {
    [string]$ConnectionString
    [object]$Credential
    [bool]$FireInfoMessageEventOnUserErrors
    [bool]$Opened
    [ScriptBlock]$Handler
    SqlConnection([string]$text) { $this.ConnectionString = $text }
    [void] add_InfoMessage([ScriptBlock]$block) { $this.Handler = $block }
    [void] Fail([object[]]$told) { throw [SqlException]::new(@($told | ForEach-Object { [SqlError]::new($_) })) }
    [void] Open() {
        $user = ''
        if ($null -ne $this.Credential) {
            $user = $this.Credential.UserId
            $password = (New-Object Net.NetworkCredential('', $this.Credential.Password)).Password
            $logins = Get-StubValue -State (Read-StubState -Name 'sqlclient.json') -Name 'logins'
            if ((Get-StubValue -State $logins -Name $user) -cne $password) { $this.Fail(@(, @(18456, 14, 1, "Login failed for user '$user'."))) }
        }
        [IO.File]::AppendAllText((Get-StubFile -Name 'sqlclient.log'), "$($this.ConnectionString)|$user`n")
        $this.Opened = $true
    }
    [object] CreateCommand() { $made = [SqlCommand]::new(); $made.Connection = $this; return $made }
    [int] Execute([object]$command) {
        if (-not $this.Opened) { throw 'ExecuteNonQuery requires an open and available Connection.' }
        if ($command.CommandTimeout -ne 0) { throw 'the stub refuses a statement with a timeout' }
        $script = Get-StubValue -State (Get-StubValue -State (Read-StubState -Name 'sqlclient.json') -Name 'statements') -Name $command.CommandText
        if ($null -eq $script) { $this.Fail(@(, @(102, 15, 1, 'Incorrect syntax.'))) }
        $late = @()
        foreach ($one in @(Get-StubValue -State $script -Name 'messages')) {
            $told = [SqlError]::new($one)
            # Without FireInfoMessageEventOnUserErrors an error is an exception, after the rest.
            if ($told.Class -gt 10 -and -not $this.FireInfoMessageEventOnUserErrors) { $late += $told }
            else { $null = & $this.Handler $this ([pscustomobject]@{ Errors = @($told); Message = $told.Message }) }
        }
        $fatal = @(Get-StubValue -State $script -Name 'fatal')
        if ($fatal.Count -gt 0 -and $null -ne $fatal[0]) { $this.Fail($fatal) }
        if ($late.Count -gt 0) { throw [SqlException]::new($late) }
        return -1
    }
    [void] Dispose() { $this.Opened = $false }
}

# New-Object finds a type by its accelerator; a warm process keeps that of an earlier run, whose runspace is gone.
$accelerators = [psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')
foreach ($type in @([SqlConnection], [SqlCredential])) {
    $null = $accelerators::Remove("Data.SqlClient.$($type.Name)")
    $accelerators::Add("Data.SqlClient.$($type.Name)", $type)
}
