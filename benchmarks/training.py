"""Renders a set to train on: a scene of `benchmarks.teaching`, or a gauge, on many days, by day and by night.

  python -m benchmarks.training --scene gauge --days 60 DATA/
  edge-agent dataset check DATA/
  edge-agent train DATA/ --arch efficientnet_lite0 --output ./model

The pictures are named by their time. They show the region that an owner would mark, or with --whole all that
the camera sees. The same words give the same pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.gauge import GAUGE
from benchmarks.teaching.camera import WHOLE, Window
from benchmarks.teaching.sample import Size, taught
from benchmarks.teaching.scene import Moment, Scene, render
from benchmarks.teaching.scenes import SCENES as TAUGHT_SCENES
from edge_agent.pipeline.jpeg import encode_jpeg

SCENES = (*TAUGHT_SCENES, GAUGE)

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_QUALITY = 92
_BETWEEN_SHOTS_S = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the set; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DATA", type=Path, help="where the set goes")
    parser.add_argument("--scene", choices=[each.name for each in SCENES], default="bay")
    parser.add_argument("--days", metavar="N", type=int, default=30, help="(default: 30)")
    parser.add_argument("--whole", action="store_true", help="the whole picture, not the region alone")
    args = parser.parse_args(arguments)
    (scene,) = (each for each in SCENES if each.name == args.scene)
    window = WHOLE if args.whole else scene.window
    print(f"{write_set(scene, args.days, args.directory, window)} pictures in {args.directory}")
    return 0


def write_set(scene: Scene, days: int, directory: Path, window: Window) -> int:
    """Write a folder of pictures of the window for each label of the scene; returns how many there are."""
    count = 0
    for moment, name in _moments(scene, days):
        path = directory / moment.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(render(scene, moment, window), _QUALITY))
        count += 1
    return count


def _moments(scene: Scene, days: int) -> Iterator[tuple[Moment, str]]:
    """What is rendered, and the name of its file, which says when."""
    for moment in taught(scene, Size(taught_days=days)):
        time = _FIRST + timedelta(
            days=moment.day, hours=moment.hour, seconds=moment.number * _BETWEEN_SHOTS_S
        )
        yield moment, f"{time:%Y%m%dT%H%M%S}Z.jpg"


if __name__ == "__main__":
    sys.exit(main())
