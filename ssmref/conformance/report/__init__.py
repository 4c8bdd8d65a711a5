"""What people and tools see of verdicts: a terminal, JSON, JUnit and HTML."""
