"""Credentials for new connections: secrets that change, and tokens that expire."""
