"""Jobs that run on a timer: daily aggregates, monthly partitions, retention."""
