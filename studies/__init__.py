"""What is searched and remembered: specs, prices, storage, reports."""
