"""Running searches: the command line, worker processes and the dashboard."""
