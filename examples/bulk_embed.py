"""The faces of all photographs in a folder, with their embeddings, into a file of JSON lines.

    python examples/bulk_embed.py photos faces.jsonl --npz faces.npz

A line for each photograph: its path in the folder and its faces, with box, landmarks, confidence and embedding. Run
it again and it goes on where it ended, with the photographs that failed and those that are new. Which failed, and why,
stands on stderr; the exit status is 1 where any did. A file of embeddings recognises people: it is biometric data.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facebento_client import (
    AsyncClient,
    AuthenticationError,
    FacebentoError,
    MultiEmbeddingsResult,
    NoAnswerError,
    NoAnswerInTimeError,
    Retry,
)

SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))
BEGIN = b'{"path": '  # of a line


def photographs(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())


def lines(output: Path) -> Iterator[dict[str, Any]]:
    if not output.exists():
        return
    with output.open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                told: dict[str, Any] = json.loads(text)
                _ = told["path"], told["faces"]
            except (ValueError, LookupError, TypeError):
                raise SystemExit(
                    f"{output}, line {number}, is damaged. Delete the line, and its photograph is done again."
                ) from None
            yield told


def drop_half_a_line(output: Path) -> None:
    """What a run that was killed may have left at the end."""
    if output.exists():
        with output.open("rb+") as file:
            content = file.read()
            end = content.rfind(b"\n") + 1
            if not BEGIN.startswith(content[end : end + len(BEGIN)]):
                raise SystemExit(f"{output} is not of this program. Give another file for the faces.")
            file.truncate(end)


def line(path: str, found: MultiEmbeddingsResult) -> str:
    faces = [
        {
            "box": each.face.box,
            "landmarks": each.face.landmarks,
            "confidence": each.face.confidence,
            "embedding": each.embedding,
        }
        for each in found
    ]
    return json.dumps({"path": path, "version": found.version, "faces": faces}) + "\n"


async def embed(client: AsyncClient, folder: Path, output: Path, concurrency: int) -> int:
    """How many photographs failed. Raises NoAnswerError, AuthenticationError where no other would do better."""
    drop_half_a_line(output)
    done = {told["path"] for told in lines(output)}
    left = [path for path in photographs(folder) if path.relative_to(folder).as_posix() not in done]
    print(f"photographs: {len(done)} done, {len(left)} left", file=sys.stderr)
    failed = 0
    with output.open("a", encoding="utf-8") as file:
        async for path, found in client.map(client.multi_embeddings, left, concurrency=concurrency):
            name = path.relative_to(folder).as_posix()
            match found:
                case MultiEmbeddingsResult():
                    file.write(line(name, found))
                    file.flush()
                case AuthenticationError():
                    raise found
                case NoAnswerError() if not isinstance(found, NoAnswerInTimeError):  # nobody is there
                    raise found
                case FacebentoError() | OSError() | ValueError():
                    failed += 1
                    print(f"{name}: {found}", file=sys.stderr)
                case _:
                    raise found
    return failed


def write_npz(output: Path, npz: Path) -> None:
    """All faces, row by row: embeddings float32 [n, d], boxes int32 [n, 4], confidences float32 [n], paths [n]."""
    rows = [(told["path"], face) for told in lines(output) for face in told["faces"]]
    np.savez_compressed(
        npz,
        embeddings=np.array([face["embedding"] for _, face in rows], np.float32),
        boxes=np.array([face["box"] for _, face in rows], np.int32),
        confidences=np.array([face["confidence"] for _, face in rows], np.float32),
        paths=np.array([path for path, _ in rows], np.str_),
    )


def at_least_1(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Embeddings of all faces in a folder; the key is FACEBENTO_API_KEY.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path, help="JSON lines; what is in it is not done again")
    parser.add_argument("--npz", type=Path, help="then write all that is in it as numpy arrays, too")
    parser.add_argument("--concurrency", type=at_least_1, default=16, help="photographs at a time; 64 to 128 for a GPU")
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="the service")
    asked = parser.parse_args(arguments)
    if not asked.folder.is_dir():
        parser.error(f"{asked.folder} is no folder")

    async def run() -> int:
        # Patient: a service that restarts must not end a long run.
        async with AsyncClient(asked.url, retry=Retry(times=50, total_s=300)) as client:
            return await embed(client, asked.folder, asked.output, asked.concurrency)

    failed = asyncio.run(run())
    if asked.npz:
        write_npz(asked.output, asked.npz)
    print(f"{failed} photograph{'' if failed == 1 else 's'} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FacebentoError, OSError) as error:
        sys.exit(f"{error}")
