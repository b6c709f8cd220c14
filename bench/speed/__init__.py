"""How fast the service is, held against what the machine could do: python -m bench.speed, or make bench."""
