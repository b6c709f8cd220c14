"""What an HTTP client meets."""

__version__ = "0.1.0"
