"""What lies at an address: fetched, listed and asked for, within limits, and tried again."""
