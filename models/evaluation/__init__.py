"""Evaluation of forecasts: metrics, baselines, statistical tests, selection bias, backtests."""
