#Requires -Version 5.1
# The dead man's switch: a scheduled task that looks after a quiet host when no run does. Its files lie like a job's.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Get-SwitchName {
    <# .SYNOPSIS The name of its task. #>
    'dead-mans-switch'
}

function Get-SwitchFolder {
    <# .SYNOPSIS Where it keeps its files: not among the jobs, which are listed, adopted and cleared away. #>
    "$(Get-PatchingRoot)\switch"
}

function Test-BegunSection {
    <# .SYNOPSIS Whether a section of quiesce.json says that something may be half installed, here or on another host. #>
    param([Parameter(Mandatory = $true)][string]$Section)
    $Section -in @('patching', 'installing', 'restarting') -or $Section -like 'sql-patch-*'
}

function Enter-SwitchLease {
    <#
    .SYNOPSIS Takes the lease from a run that has fallen silent; answers its new number, or 0 where it is not silent any more.
    .DESCRIPTION What that run still does is refused from now on, should it come back. The key stays: it can be resumed.
    #>
    param([Parameter(Mandatory = $true)]$Silent)
    Use-Lock -LockName 'lease' -Work {
        $lease = Get-Lease
        if ($null -eq $lease -or $lease.released -or $lease.fence -ne $Silent.fence -or $lease.renewed -ne $Silent.renewed) { return 0 }
        $now = [datetime]::UtcNow
        $text = ConvertTo-IsoDate -Date $now
        Write-JsonFile -Path "$(Get-PatchingRoot)\lease.json" -Value ([ordered]@{
                fence = $lease.fence + 1; holder = "dead man's switch of $env:COMPUTERNAME"; key = $lease.key; taken = $lease.taken
                renewed = $text; expires = ConvertTo-IsoDate -Date $now.AddMinutes(15); released = $false; finished = $false
            })
        $lease.fence + 1
    }
}

function Test-SwitchLease {
    <# .SYNOPSIS Whether the switch of this host has taken the lease, and has not done its work: its next look goes on. #>
    param([Parameter(Mandatory = $true)]$Lease)
    $Lease.holder -eq "dead man's switch of $env:COMPUTERNAME" -and (ConvertFrom-IsoDate -Text $Lease.expires) -le [datetime]::UtcNow
}

function Exit-SwitchLease {
    <#
    .SYNOPSIS Gives the lease back, unless a later run has it by now.
    .DESCRIPTION Where something has not come back it only ends: one that is given back says that what is closed stays closed.
    #>
    param([Parameter(Mandatory = $true)][int]$Fence, [Parameter(Mandatory = $true)][bool]$Done)
    Use-Lock -LockName 'lease' -Work {
        $lease = Get-Lease
        if ($lease.fence -eq $Fence) {
            $lease.released = $Done
            $lease.expires = Get-IsoNow
            Write-JsonFile -Path "$(Get-PatchingRoot)\lease.json" -Value $lease
        }
    }
}

function Write-SwitchEvent {
    <# .SYNOPSIS Tells what the switch has done, or why it does nothing, in the Application log: each text once. #>
    param([Parameter(Mandatory = $true)][ValidateSet('WARNING', 'ERROR')][string]$Level, [Parameter(Mandatory = $true)][string]$Text)
    $path = "$(Get-SwitchFolder)\said.json"
    $last = Read-JsonFile -Path $path
    if ($null -ne $last -and $last.text -ceq $Text) { return }
    # Quotes would end the argument early.
    $null = Invoke-Native -File 'eventcreate.exe' -Arguments @('/L', 'APPLICATION', '/T', $Level, '/SO', 'EngageIPPatching', '/ID', '911', '/D', ($Text -replace '["\\]', "'"))
    Write-JsonFile -Path $path -Value ([ordered]@{ text = $Text; at = Get-IsoNow })
}
