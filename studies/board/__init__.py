"""What the dashboard shows of a study: notes, attributes, plots and pictures."""
