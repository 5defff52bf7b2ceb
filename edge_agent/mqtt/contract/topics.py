"""The topics of one device."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edge_agent.lean_dataclass import dataclass

_DEVICE_ID = re.compile(r"[a-zA-Z0-9_-]+")


def wanted_topic(base: str, group: str) -> str:
    """Where the owner says what the devices of a group are to have."""
    return f"{base}/group/{group}/wanted"


@dataclass(frozen=True, slots=True)
class ViewTopics:
    """Those of what is watched: the whole picture, or a region of it."""

    root: str

    @property
    def state(self) -> str:
        return f"{self.root}/state"

    @property
    def event(self) -> str:
        return f"{self.root}/event"

    @property
    def prediction(self) -> str:
        return f"{self.root}/prediction"

    @property
    def event_image(self) -> str:
        return f"{self.root}/event_image"

    @property
    def event_image_info(self) -> str:
        return f"{self.root}/event_image/info"

    @property
    def retained(self) -> tuple[str, ...]:
        """Those whose last message the broker keeps."""
        return self.state, self.event_image, self.event_image_info


@dataclass(frozen=True, slots=True)
class Topics:
    """`<base>/<device_id>/...`, by the names of the MQTT contract.

    Raises ValueError for a device id that could not stand in a topic.
    """

    base: str
    device_id: str

    def __post_init__(self) -> None:
        if not _DEVICE_ID.fullmatch(self.device_id):
            raise ValueError(
                f"device id {self.device_id!r}: only letters, digits, _ and - may stand in a topic"
            )

    @property
    def root(self) -> str:
        return f"{self.base}/{self.device_id}"

    def of(self, region: str) -> ViewTopics:
        """The topics of a region; of the whole picture where the name is empty."""
        return ViewTopics(f"{self.root}/region/{region}" if region else self.root)

    @property
    def availability(self) -> str:
        return f"{self.root}/availability"

    @property
    def state(self) -> str:
        return self.of("").state

    @property
    def event(self) -> str:
        return self.of("").event

    @property
    def prediction(self) -> str:
        return self.of("").prediction

    @property
    def health(self) -> str:
        return f"{self.root}/health"

    @property
    def info(self) -> str:
        return f"{self.root}/info"

    @property
    def image(self) -> str:
        return f"{self.root}/image"

    @property
    def event_image(self) -> str:
        return self.of("").event_image

    @property
    def event_image_info(self) -> str:
        return self.of("").event_image_info

    def retained(self, regions: Iterable[str] = ()) -> tuple[str, ...]:
        """Those whose last message the broker keeps, with those of these regions."""
        of_views = (topic for region in ("", *regions) for topic in self.of(region).retained)
        return (*of_views, self.health, self.info, self.availability)

    def request(self, verb: str) -> str:
        """Where `verb` (`pause`, `config/get`, ...) is asked for; `#` subscribes to all of them."""
        return f"{self.root}/request/{verb}"

    def response(self, verb: str) -> str:
        return f"{self.root}/response/{verb}"
