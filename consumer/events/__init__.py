"""What the events are and when one is refused. Pure: no clock, no log, no client library."""
