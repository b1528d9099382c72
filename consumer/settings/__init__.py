"""The settings of an operator: their model and their sources."""
