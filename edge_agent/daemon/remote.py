"""What the agent can be asked to do over MQTT (`edge_agent.mqtt.requests.Commands`)."""

from __future__ import annotations

from edge_agent.config.live import LiveConfig
from edge_agent.config.schema import Config
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.schedule import Every
from edge_agent.errors import SourceError
from edge_agent.mqtt.requests import Reloaded
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.jpeg import encode_jpeg


class RemoteCommands:
    """Carries out the requests, on the main thread."""

    def __init__(
        self,
        live: LiveConfig,
        loop: InferenceLoop,
        capture: CaptureLoop,
        reloader: Reloader,
        health_due: Every,
    ) -> None:
        """`health_due` is made due by what `health` should show soon."""
        self._live = live
        self._loop = loop
        self._capture = capture
        self._reloader = reloader
        self._health_due = health_due

    def pause(self) -> None:
        """Take no frames until `resume`."""
        self._capture.pause()
        self._health_due.hasten()

    def resume(self) -> None:
        """Take frames again."""
        self._capture.resume()
        self._health_due.hasten()

    def snapshot(self) -> bytes:
        """The frame classified last, as JPEG. Raises SourceError when there is none yet."""
        frame = self._loop.last_frame
        if frame is None:
            raise SourceError("no frame has been classified yet")
        return encode_jpeg(frame.pixels, self._live.config.publish.image_quality)

    def config(self) -> Config:
        """The configuration in force."""
        return self._live.config

    def reload(self) -> Reloaded:
        """Take over the edited configuration. Raises ConfigError when it is refused, whole."""
        return self._reloader.reload()
