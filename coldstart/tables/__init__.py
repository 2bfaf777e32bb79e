"""The tables that people bring: read, check, and name what is wrong."""
