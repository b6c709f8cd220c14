"""Enrol people by photographs, verify or identify them by another: features in SQLite, compared where they are kept.

    python examples/enrol_verify.py enrol eileen photo.jpg --consent "form 17 of 2026-05-04"
    python examples/enrol_verify.py verify eileen door.jpg      # exit status 0: it is her, 1: it is not, 2: no telling
    python examples/enrol_verify.py identify door.jpg
    python examples/enrol_verify.py forget eileen

What is kept of a person are the name, where the consent lies, and features: no photograph. A feature recognises a
person, and is biometric data by law in many countries: enrol nobody who has not agreed, keep the database as carefully
as you would keep photographs, and forget people when they ask for it or the reason is gone. Nothing here tells a person
from a photograph of one that is held up to the camera: do not open doors with it alone.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from facebento_client import Client, FacebentoError, Feature, ScoreMapping
from facebento_client.gallery import Gallery

SCHEMA = """
CREATE TABLE IF NOT EXISTS person (
    name TEXT PRIMARY KEY,
    consent TEXT NOT NULL,
    enrolled_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS feature (
    person TEXT NOT NULL REFERENCES person (name) ON DELETE CASCADE,
    fingerprint TEXT NOT NULL, -- of the embedder that made it
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS feature_of_person ON feature (person);
"""

DEFAULTS: Mapping[str, Any] = {"url": "http://127.0.0.1:3000", "db": Path("people.db"), "threshold": 0.5}


class People:
    """The database."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)  # for nobody else's eyes
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten in the file, too
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def enrol(self, name: str, consent: str, features: Sequence[Feature]) -> None:
        """All of it or nothing."""
        with self._db:
            self._db.execute(
                "INSERT INTO person (name, consent) VALUES (?, ?) ON CONFLICT DO UPDATE SET consent = excluded.consent",
                (name, consent),
            )
            self._db.executemany(
                "INSERT INTO feature (person, fingerprint, data) VALUES (?, ?, ?)",
                [(name, feature.fingerprint, bytes(feature)) for feature in features],
            )

    def forget(self, name: str) -> bool:
        """The person and all that is kept of them. Whether there was one of that name."""
        with self._db:
            return self._db.execute("DELETE FROM person WHERE name = ?", (name,)).rowcount > 0

    def features(self, fingerprint: str, name: str | None = None) -> Iterator[tuple[str, Feature]]:
        """Those that the embedder made, of one person or of all, with their names."""
        rows = self._db.execute(
            "SELECT person, data FROM feature WHERE fingerprint = ? AND (? IS NULL OR person = ?)",
            (fingerprint, name, name),
        )
        for person, data in rows:
            yield person, Feature(data)


def feature_of_one(client: Client, photo: Path) -> Feature:
    """For enrolment there must be one face, or the wrong person may be enrolled."""
    found = client.multi_feature(photo)
    if len(found) != 1:
        raise ValueError(f"{photo} shows {len(found)} faces. To enrol somebody it must show one.")
    return found[0].feature


def best_match(client: Client, people: People, photo: Path, name: str | None = None) -> tuple[str, float]:
    """Who is most like the largest face of the photograph, and how much: 0 to 1. One request, whoever is enrolled."""
    mapping: ScoreMapping = client.score_mapping()
    gallery = Gallery(mapping, people.features(mapping.fingerprint, name))
    if not len(gallery):
        raise ValueError(f"{name or 'Nobody'} is not enrolled, or by another embedder: enrol from photographs again.")
    feature = client.feature(photo).feature
    if feature is None:
        raise ValueError(f"{photo} shows no face.")
    return gallery.search(feature, limit=1)[0]


def main(arguments: Sequence[str]) -> int:
    # Of each command too, and with defaults of neither: a command's would replace what stands before it.
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--url", help=f"the service; default: {DEFAULTS['url']}")
    shared.add_argument("--db", type=Path, help=f"default: {DEFAULTS['db']}")
    shared.add_argument(
        "--threshold",
        type=float,
        help=f"the least score to be taken for the same person; default: {DEFAULTS['threshold']}",
    )
    parser = argparse.ArgumentParser(
        description="Enrol, verify, identify and forget people; the key is FACEBENTO_API_KEY.", parents=[shared]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    enrol = commands.add_parser("enrol", help="add photographs of a person", parents=[shared])
    enrol.add_argument("name")
    enrol.add_argument("photos", nargs="+", type=Path)
    enrol.add_argument("--consent", required=True, help="where the person's consent is kept")
    verify = commands.add_parser("verify", help="is it this person?", parents=[shared])
    verify.add_argument("name")
    verify.add_argument("photo", type=Path)
    identify = commands.add_parser("identify", help="who is it?", parents=[shared])
    identify.add_argument("photo", type=Path)
    forget = commands.add_parser("forget", help="delete a person and all that is kept of them", parents=[shared])
    forget.add_argument("name")
    asked = parser.parse_args(arguments, argparse.Namespace(**DEFAULTS))

    try:
        with closing(People(asked.db)) as people, Client(asked.url) as client:
            return run(asked, people, client)
    except (FacebentoError, OSError, ValueError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 2  # and not 1, which says that it is somebody else


def run(asked: argparse.Namespace, people: People, client: Client) -> int:
    """The exit status. Raises FacebentoError, OSError, ValueError."""
    match asked.command:
        case "enrol":
            people.enrol(asked.name, asked.consent, [feature_of_one(client, photo) for photo in asked.photos])
            count = len(asked.photos)
            print(f"{asked.name}: enrolled by {count} photograph{'' if count == 1 else 's'}")
        case "verify":
            _, score = best_match(client, people, asked.photo, asked.name)
            same = score >= asked.threshold
            print(f"{score:.3f}: {'' if same else 'not '}{asked.name}")
            return 0 if same else 1
        case "identify":
            name, score = best_match(client, people, asked.photo)
            known = score >= asked.threshold
            print(f"{score:.3f}: {name if known else 'nobody who is enrolled'}")
            return 0 if known else 1
        case "forget":
            known = people.forget(asked.name)
            print(f"{asked.name}: {'forgotten' if known else 'is not enrolled'}")
            return 0 if known else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
