"""Prices: sources, files, rules, exact copies."""
