"""Optuna Dashboard, and who may do what with it."""
