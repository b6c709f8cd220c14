"""The client, against servers that answer in pieces, late, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from bench.client import NO_ANSWER, Address, Answer, Connection, encode

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nRetry-After: 2\r\n"


def ask(serve: Callable[[Reader, Writer], Awaitable[None]], times: int = 1) -> list[Answer]:
    """The answers to requests on one connection, one after the other."""

    async def one(reader: Reader, writer: Writer) -> None:
        await serve(reader, writer)
        writer.close()

    async def main() -> list[Answer]:
        server = await asyncio.start_server(one, "127.0.0.1", 0)
        async with server:
            connection = Connection(Address("127.0.0.1", server.sockets[0].getsockname()[1]))
            answers = [await connection.ask(encode("POST", "/x", [("A", "b")], b"body")) for _ in range(times)]
            connection.close()
        return answers

    return asyncio.run(main())


def test_an_answer_may_come_in_pieces_and_its_connection_is_used_again() -> None:
    seen = []

    async def serve(reader: Reader, writer: Writer) -> None:
        for _ in range(2):
            seen.append(await reader.readuntil(b"body"))
            for piece in (HEAD[:20], HEAD[20:], b"\r", b"\nab", b"cd"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    # The server takes no second connection's requests: both came on the first.
    first, second = ask(serve, times=2)
    assert seen[0] == b"POST /x HTTP/1.1\r\nHost: bench\r\nA: b\r\nContent-Length: 4\r\n\r\nbody"
    assert len(seen) == 2
    assert (first.status, first.body, first.retry_after_s) == (second.status, second.body, 2.0) == (200, b"abcd", 2.0)


def test_a_connection_that_ends_before_the_answer_is_complete_is_no_answer() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"body")
        writer.write(HEAD + b"\r\nab")

    assert [answer.status for answer in ask(serve, times=2)] == [NO_ANSWER, NO_ANSWER]


def test_nobody_there_is_no_answer() -> None:
    async def main() -> Answer:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await Connection(Address("127.0.0.1", port)).ask(b"x")

    assert asyncio.run(main()).status == NO_ANSWER
