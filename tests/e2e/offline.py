"""Serves a bento, asks it, stops it, and prints what came of it as JSON.

A program of its own, to be run where there is no network: python -m tests.e2e.offline TAG FOLDER HOME PICTURE
"""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

from tests.e2e.bentos import answers
from tests.e2e.running import Server, free_port

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, net/if.h
IFREQ = "16sH22x"
ELSEWHERE = ("192.0.2.1", 80)  # kept for documentation by RFC 5737: nobody's


def bring_up_loopback() -> None:
    """A new network namespace has one, and it is down."""
    with socket.socket() as handle:
        name, flags = struct.unpack(IFREQ, fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack(IFREQ, b"lo", 0)))
        if not flags & IFF_UP:
            fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack(IFREQ, name, flags | IFF_UP))


def why_nothing_is_reached() -> str:
    try:
        socket.create_connection(ELSEWHERE, timeout=1).close()
    except OSError as error:
        return str(error)
    return "it is reached"


def main(tag: str, folder: str, home: str, picture: str) -> None:
    bring_up_loopback()
    server = Server(f"http://127.0.0.1:{free_port()}", Path(folder), Path(home), {"FACEBENTO_API_KEYS": "k"})
    # For the one who asks: the bento itself knows its settings by the environment alone.
    (server.folder / ".env").write_text("FACEBENTO_API_KEYS=k\n", encoding="utf-8")
    try:
        server.run("bentoml", "serve", tag, "--port", server.url.rpartition(":")[2])
        server.wait_ready()
        told = answers(server, Path(picture).read_bytes())
        status = server.stop()
    finally:
        server.kill()
    found = {"answers": told, "network": why_nothing_is_reached(), "status": status, "output": server.output}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
