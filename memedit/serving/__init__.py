"""The proxy around the routing core."""
