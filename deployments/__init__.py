"""How the flows are run: Prefect's deployments, sample estates, and everything at once on one machine."""
