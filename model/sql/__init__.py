"""What is known of SQL Server, as values: statements, facts, and the rules by which they are judged."""
