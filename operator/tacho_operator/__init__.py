"""The tacho operator and command line."""
