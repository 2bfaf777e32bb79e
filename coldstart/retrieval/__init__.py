"""From a query to ranked tracks: what verbs, Python and a service have in common."""
