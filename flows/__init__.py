"""The runbooks: one file, one flow."""
