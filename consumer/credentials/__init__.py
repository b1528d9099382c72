"""What connections log in with, asked for at each new one: secrets that change, and tokens that expire."""
