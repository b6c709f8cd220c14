"""Programs that attack and measure the service: python -m bench.NAME, from the repository's root.

Each starts a server of its own, in a working copy of its own, and prints a table and a line of JSON.
"""
