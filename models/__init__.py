"""Features, folds, networks, training and evaluation. Imports neither Optuna nor SQLAlchemy."""
