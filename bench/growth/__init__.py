"""Measures the cost of an event as the table grows: `python -m bench.growth`.

It copies the same rows into a table that already has zero, one, ten or thirty million rows. The ids are time-ordered or
random, and the table is plain or has monthly table partitions. The benchmark measures PostgreSQL's CPU, which other
work on the machine disturbs least, the size of the write-ahead log, and the time of the review's queries.
"""
