"""What an event costs as the table grows: `python -m bench.growth`.

The same rows are copied into a table that holds nothing, a million, ten and thirty million rows already, once with ids
that grow with time and once with random ones, into a plain table and into monthly partitions. What is measured is
PostgreSQL's own CPU, which other work on the machine disturbs least, the log it writes, and the queries of the review.
"""
