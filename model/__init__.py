"""Plain data and pure decisions: no I/O, no Prefect, no clock of its own."""
