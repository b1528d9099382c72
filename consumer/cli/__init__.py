"""The command line: each command parses its arguments, calls one async function, and prints the result."""
