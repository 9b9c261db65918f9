"""How forecasts are judged: losses, baselines, tests, selection bias, backtests."""
