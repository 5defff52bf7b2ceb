"""Which source a configuration makes, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config.schema import (
    FileConfig,
    FolderConfig,
    HttpConfig,
    Picamera2Config,
    RtspConfig,
    SourceConfig,
    V4l2Config,
)
from edge_agent.errors import ConfigError
from edge_agent.sources import Source
from edge_agent.sources.factory import make_source
from edge_agent.system.secret import SecretUrl
from tests.sources.helpers import plain_picture

ALL = SourceConfig(
    fps=2,
    picamera2=Picamera2Config(camera=1),
    v4l2=V4l2Config(device="3"),
    rtsp=RtspConfig(url=SecretUrl("rtsp://user:password@camera.lan/stream")),
    http=HttpConfig(url=SecretUrl("http://user:password@camera.lan/stream?x=secret")),
    file=FileConfig(path=Path("/srv/video.mp4")),
    folder=FolderConfig(path=Path("/srv/pictures")),
)


@pytest.mark.parametrize(
    ("config", "description", "live"),
    [
        (replace(ALL, type="picamera2"), "picamera2 1", True),
        (replace(ALL, type="v4l2"), "v4l2 /dev/video3", True),
        (replace(ALL, type="rtsp"), "rtsp camera.lan:554", True),
        (replace(ALL, type="http"), "http camera.lan:80", True),
        (replace(ALL, type="file"), "file /srv/video.mp4", True),
        (replace(ALL, type="file", fps=0), "file /srv/video.mp4", False),
        (replace(ALL, type="folder"), "folder /srv/pictures", True),
        (replace(ALL, type="folder", fps=0), "folder /srv/pictures", False),
        (replace(ALL, type="rtsp", fps=0), "rtsp camera.lan:554", True),
    ],
)
def test_each_type_makes_its_source(config: SourceConfig, description: str, live: bool) -> None:
    source: Source = make_source(config)
    assert (source.description, source.live) == (description, live)


def test_the_given_clock_times_the_frames(tmp_path: Path) -> None:
    plain_picture(tmp_path / "one.jpg")
    source = make_source(
        SourceConfig(type="folder", folder=FolderConfig(path=tmp_path)), clock=iter([1.0, 4.0]).__next__
    )
    source.open()
    frame = source.read()
    assert frame is not None
    assert (frame.captured_s, frame.capture_ms) == (4.0, 3000)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (SourceConfig(type="folder"), "source.folder.path"),
        (SourceConfig(type="file"), "source.file.path"),
        (SourceConfig(type="rtsp"), "source.rtsp.url"),
        (SourceConfig(type="http"), "source.http.url"),
        (SourceConfig(type="picamera2", picamera2=Picamera2Config(lores_height=1080)), "source.picamera2"),
    ],
)
def test_settings_that_make_no_source_are_refused_by_name(config: SourceConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        make_source(config)


def test_making_any_source_imports_no_camera_library() -> None:
    script = (
        "import sys\n"
        "from tests.sources.test_factory import ALL\n"
        "from dataclasses import replace\n"
        "from edge_agent.sources.factory import make_source\n"
        "for kind in ('picamera2', 'v4l2', 'rtsp', 'http', 'file', 'folder'):\n"
        "    make_source(replace(ALL, type=kind))\n"
        "print(sorted({'cv2', 'torch', 'torchvision', 'picamera2', 'libcamera'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_playing_a_folder_of_jpegs_imports_no_camera_library_and_few_of_pillows_formats(
    tmp_path: Path,
) -> None:
    plain_picture(tmp_path / "one.jpg")
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_agent.config.schema import FolderConfig, SourceConfig\n"
        "from edge_agent.sources.factory import make_source\n"
        "source = make_source(SourceConfig(type='folder', folder=FolderConfig(path=Path(sys.argv[1]))))\n"
        "source.open()\n"
        "assert source.read() is not None\n"
        "print('cv2' in sys.modules, sum(name.endswith('ImagePlugin') for name in sys.modules) < 10)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "False True"
