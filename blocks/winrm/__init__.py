"""WinRM, as far as a patch run needs it: sealed sessions, scripts by stdin, errors that say what to do."""
