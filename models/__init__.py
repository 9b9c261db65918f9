"""Networks, windows, folds, training and the judging of forecasts. Knows no Optuna and no SQL."""
