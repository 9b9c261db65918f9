"""What each command does, and how results are shown."""
