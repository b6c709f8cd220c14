"""What both clients share: where the service is, with which key, and what an answer means. No I/O."""

import os
from typing import TypeVar

import httpx

from facebento_client.calls import Call, Request
from facebento_client.errors import KEY_HEADER, of_response
from facebento_client.retries import Attempts, Retry, retry_after_s
from facebento_client.version import __version__

T = TypeVar("T")

KEY_VARIABLE = "FACEBENTO_API_KEY"
# To wait longer than the service's own deadline of 30 s has it say what is wrong.
ANSWER_S = 40.0
CONNECT_S = 5.0
# Idle connections end before the service ends them, after 5 s: one that is used again is not closed at that moment.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=4)


class Connection:
    """Of one client. Its text shows the address and no key."""

    def __init__(
        self, base_url: str, api_key: str | None, timeout: float | httpx.Timeout, retry: Retry | int, *, form: bool
    ) -> None:
        """Raises ValueError."""
        try:
            address = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"The service's address can't be read: {error}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError("The service's address begins with http:// or https:// and names a host.")
        if address.query or address.fragment:
            raise ValueError("The service's address ends with its path: nothing may follow that begins with ? or #.")
        self._address = str(address).rstrip("/")
        self._shown = f"{address.scheme}://{address.netloc.decode('ascii')}{address.path}".rstrip("/")
        key = os.environ.get(KEY_VARIABLE) if api_key is None else api_key
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key and key):
            # Said here, since httpx and the operating system would show it.
            raise ValueError("The API key is not one: a key is printable ASCII without spaces.")
        self._headers = {"user-agent": f"facebento-client/{__version__}", **({KEY_HEADER: key} if key else {})}
        self._timeout = timeout if isinstance(timeout, httpx.Timeout) else _timeout(timeout)
        self._retry = Retry(times=retry) if isinstance(retry, int) else retry
        self.form = form

    def __repr__(self) -> str:
        return repr(self._shown)

    def attempts(self) -> Attempts:
        return Attempts(self._retry)

    def build(
        self, http: httpx.Client | httpx.AsyncClient, request: Request, timeout_s: float | None = None
    ) -> httpx.Request:
        """One to send once. The client is only asked to build: it may be one whose base URL is another.

        timeout_s: other than the client's own, and no longer than the caller is going to wait.
        """
        options = dict(request.options)
        # The key for a POST only: nothing else takes one, and what is not sent can't be logged by a proxy.
        shown = self._headers if request.method == "POST" else {"user-agent": self._headers["user-agent"]}
        headers = {**shown, **options.pop("headers", {})}
        url = self._address + request.path
        timeout = self._timeout if timeout_s is None else _timeout(timeout_s)
        return http.build_request(request.method, url, headers=headers, timeout=timeout, **options)


def outcome(call: Call[T], response: httpx.Response) -> T:
    """What the call answers. Raises ApiError, FeatureError."""
    if response.status_code == httpx.codes.OK:
        return call.result(response)
    raise of_response(response, retry_after_s(response.headers.get("retry-after")))


def _timeout(seconds: float) -> httpx.Timeout:
    # Waiting for a free connection has no end of its own: those in use have one each.
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_S), pool=None)
