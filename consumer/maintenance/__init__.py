"""What runs on a timer: days, months, retention."""
