"""Training: optimiser, steps, folds in step, refits."""
