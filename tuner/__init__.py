"""Who runs a search: the objective, workers, the launcher, the dashboard and the command line."""
