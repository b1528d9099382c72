"""One module or package for each job of an operator."""
