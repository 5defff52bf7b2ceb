"""The virtual board's cameras: picamera2 on libcamera's `virtual` pipeline, and the kernel's `vivid`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from tests.board import materials
from tests.board.board import HERE, Board, cache_dir

# What Debian does not have of picamera2; the versions are those of Raspberry Pi OS trixie.
PACKAGES = ("picamera2==0.3.38", "simplejpeg", "videodev2")
SIZE = (640, 480)

_PACKAGES_OF_THE_BOARD = "/usr/local/lib/python3.13/dist-packages"
_CAMERAS = "/usr/share/libcamera/pipeline/virtual/virtual.yaml"
_FRAMES = "/var/lib/board-camera"
_SWITCHES = "/run/board-camera"
_CAMERA = f"""\
"board-camera":
  supported_formats:
  - width: {SIZE[0]}
    height: {SIZE[1]}
    frame_rates: [5, 10]
  frames:
    path: "{_FRAMES}/"
  model: "pictures"
"""
# What the stand-in for the DMA heap needs, and what a Raspberry Pi has in the group `video`.
_DEVICE = """\
[Service]
DeviceAllow=/dev/udmabuf rw
"""


class RibbonCamera:
    """A camera on the ribbon cable, whose frames are pictures."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def attach(self, pictures: Sequence[Image.Image]) -> None:
        """Bring picamera2 and the stand-ins to the board, and plug in a camera that sees these pictures."""
        board = self._board
        board.push(list(_kit().iterdir()), _PACKAGES_OF_THE_BOARD)
        board.push(list((HERE / "stand_ins").iterdir()), _PACKAGES_OF_THE_BOARD)
        # As Debian's packages are: what is compiled at each start takes memory for that.
        board.run(f"python3 -m compileall -q {_PACKAGES_OF_THE_BOARD}")
        board.run("chgrp video /dev/udmabuf && chmod 660 /dev/udmabuf")
        drop_in = "/etc/systemd/system/edge-agent.service.d/90-board-camera.conf"
        board.run(
            f"mkdir -p {_SWITCHES} $(dirname {drop_in}) && cat >{drop_in} && systemctl daemon-reload",
            stdin=_DEVICE.encode(),
        )
        self.show(pictures)
        board.run(f"mkdir -p $(dirname {_CAMERAS}) && cat >{_CAMERAS}", stdin=_CAMERA.encode())

    def show(self, pictures: Sequence[Image.Image]) -> None:
        """Let the camera see these pictures, in turn, once it is opened again."""
        with tempfile.TemporaryDirectory() as directory:
            frames = Path(directory) / Path(_FRAMES).name
            frames.mkdir()
            for number, picture in enumerate(pictures):
                ImageOps.pad(picture.convert("RGB"), SIZE).save(frames / f"{number}.jpg", quality=95)
            self._board.run(f"rm -rf {_FRAMES}")
            self._board.push([frames], str(Path(_FRAMES).parent))

    def unplug(self) -> None:
        """No frames any more, and no camera to be found, until `plug`."""
        self._board.run(f"touch {_SWITCHES}/unplugged")

    def plug(self) -> None:
        self._board.run(f"rm -f {_SWITCHES}/unplugged")

    def hang(self) -> None:
        """Give no frames until `go_on`."""
        self._board.run(f"touch {_SWITCHES}/hangs")

    def go_on(self) -> None:
        self._board.run(f"rm -f {_SWITCHES}/hangs")

    def use_up_memory(self) -> None:
        """Let the DMA heap have nothing left until `free_memory`."""
        self._board.run(f"touch {_SWITCHES}/memory-used-up")

    def free_memory(self) -> None:
        self._board.run(f"rm -f {_SWITCHES}/memory-used-up")


class UsbCamera:
    """The kernel's test camera, /dev/video0: for V4L2 what a USB camera is."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def plug(self) -> None:
        # One node that captures video; a webcam makes frames of one plane.
        self._board.run("modprobe vivid n_devs=1 node_types=0x1 input_types=0x0 && udevadm settle")

    def set(self, **controls: int) -> None:
        """Set some of its controls, as `v4l2-ctl --list-ctrls` names them."""
        wanted = ",".join(f"{name}={value}" for name, value in controls.items())
        self._board.run(f"v4l2-ctl --device /dev/video0 --set-ctrl {wanted}")

    def unplug(self) -> None:
        """Pull it out while it is in use: the kernel takes away the device file."""
        self.set(disconnect=1)
        self._board.run("rm -f /dev/video0")

    def remove(self) -> None:
        """Let its driver go, which nobody may use any more; `plug` brings it back."""
        self._board.run("for _ in $(seq 120); do modprobe -r vivid && exit 0; sleep 1; done; exit 1")


def _kit() -> Path:
    """The folder of Python packages to unpack on the board."""
    directory = cache_dir() / "camera-kit"
    if not (directory / "picamera2").is_dir():
        shutil.rmtree(directory, ignore_errors=True)
        materials.pip_for_board("trixie", "install", "--target", directory, *PACKAGES)
    return directory
