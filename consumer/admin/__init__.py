"""Operator commands: one module or package for each."""
