"""The database: tables, transactions, tickets, checkpoints, artifacts, workers."""
