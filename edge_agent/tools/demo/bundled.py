"""The pictures that come with the package, and the ImageNet labels that are right for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PICTURES_DIR = Path(__file__).parent / "pictures"
"""A folder for the folder source; where its files came from is in the NOTICE file."""


@dataclass(frozen=True, slots=True)
class BundledPicture:
    """One picture of the folder, and the ImageNet labels that are right for it (torchvision's spelling)."""

    name: str
    labels: frozenset[str]

    @property
    def path(self) -> Path:
        return PICTURES_DIR / self.name


BUNDLED_PICTURES = (
    BundledPicture("balloon.jpg", frozenset({"balloon"})),
    BundledPicture("cat.jpg", frozenset({"Egyptian cat", "tabby", "tiger cat"})),
    BundledPicture("chameleon.jpg", frozenset({"African chameleon"})),
    BundledPicture("dog.jpg", frozenset({"golden retriever"})),
    BundledPicture("espresso.jpg", frozenset({"espresso"})),
    BundledPicture("goldfish.jpg", frozenset({"goldfish"})),
    BundledPicture("lorikeet.jpg", frozenset({"lorikeet"})),
    BundledPicture("space_shuttle.jpg", frozenset({"space shuttle"})),
    BundledPicture("tripod.jpg", frozenset({"tripod"})),
)
