"""The command `facebento`, and what is mended of BentoML's.

Imports nothing: BentoML loads containerize.py, and with it this, before each of its commands.
"""
