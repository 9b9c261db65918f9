"""Optuna Dashboard with access rules."""
