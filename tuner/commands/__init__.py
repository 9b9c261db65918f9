"""One module per command (or group of small ones), their options, and tables of results."""
