"""Asking a service on this machine: not by the proxy that the environment may name, which is for all the rest."""

import urllib.request
from http.client import HTTPResponse


def ask(url: str, timeout_s: float) -> HTTPResponse:
    """GET; url: http, made by the caller. Raises urllib's errors, an answer from 400 on among them, and OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = opener.open(url, timeout=timeout_s)
    return answer
