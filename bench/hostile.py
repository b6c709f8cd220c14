"""Bad requests by the thousand, from a seed: each can be made again by its number alone."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench import hostile_contents, hostile_envelopes
from bench.cases import Case, Sender

# How often each kind comes, in thousandths. What reaches the detector costs a tenth of a second of a core.
KINDS: tuple[tuple[int, Callable[[Sender, random.Random], Case]], ...] = (
    (120, hostile_envelopes.keys),
    (120, hostile_envelopes.envelopes_of_json),
    (90, hostile_envelopes.forms),
    (30, hostile_envelopes.sizes),
    (110, hostile_contents.base64_texts),
    (205, hostile_contents.broken_pictures),
    (90, hostile_contents.pictures_not_taken),
    (50, hostile_contents.odd_pictures),
    (30, hostile_contents.oversized_pictures),
    (20, hostile_contents.strange_contents),
    (70, hostile_contents.features),
    (45, hostile_contents.parameters),
    (20, hostile_envelopes.paths),
)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the bad requests of one sender."""

    seed: int
    sender: Sender

    def case(self, number: int) -> Case:
        rng = random.Random(f"{self.seed}:{number}")
        [make] = rng.choices([make for _, make in KINDS], [weight for weight, _ in KINDS])
        return make(self.sender, rng)
