"""From the bytes of a record to a row in the format of COPY."""
