"""What the agent can be asked to do over MQTT (`edge_agent.mqtt.requests.Commands`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.config.live import LiveConfig
from edge_agent.config.schema import Config
from edge_agent.config.watch import ConfigWatcher
from edge_agent.daemon.model_exchange import ModelExchange
from edge_agent.daemon.reload import Reloader
from edge_agent.daemon.restart import PendingRestart
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.teaching import Teaching
from edge_agent.errors import ConfigError, SourceError
from edge_agent.lean_dataclass import dataclass
from edge_agent.model.source import ModelSource
from edge_agent.mqtt.requests import HeadRequest, LessonRequest, Reloaded
from edge_agent.pipeline.capture_loop import CaptureLoop
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.jpeg import encode_jpeg


@dataclass(frozen=True, slots=True)
class RemoteCommands:
    """Carries out the requests, on the main thread. `health_due` is hastened after a pause and its end."""

    live: LiveConfig
    loop: InferenceLoop
    capture: CaptureLoop
    watcher: ConfigWatcher
    reloader: Reloader
    pending_restart: PendingRestart
    health_due: Every
    teaching: Teaching
    models: ModelExchange

    def pause(self) -> None:
        """Take no frames until `resume`."""
        self.capture.pause()
        self.health_due.hasten()

    def resume(self) -> None:
        """Take frames again."""
        self.capture.resume()
        self.health_due.hasten()

    def snapshot(self) -> bytes:
        """The frame classified last, as JPEG. Raises SourceError when there is none yet."""
        frame = self.loop.last_frame
        if frame is None:
            raise SourceError("no frame has been classified yet")
        return encode_jpeg(frame.pixels, self.live.config.publish.image_quality)

    def restart(self) -> None:
        """End, to be started again by the service manager."""
        self.pending_restart.want("it was asked for over MQTT")

    def override(self, settings: Mapping[str, float]) -> Reloaded:
        """Change settings until the file is read again. Raises ConfigError."""
        return self.reloader.override(settings)

    def patch(self, settings: Mapping[str, Any]) -> Reloaded:
        """Write settings into the file, where its owner allows that. Raises ConfigError."""
        if not self.live.config.control.allow_patch:
            raise ConfigError("control.allow_patch is false: this device's file is its owner's alone")
        self._refuse_while_written()
        return self.reloader.patch(settings)

    def teach(self, lesson: LessonRequest) -> dict[str, Any]:
        """Teach a label, or say what was taught. Raises TeachError or ConfigError."""
        return self.teaching.carry_out(lesson)

    def take_head(self, head: HeadRequest) -> dict[str, Any]:
        """Answer with a head that was taught elsewhere, where the owner allows that.

        Raises TeachError or ConfigError.
        """
        if not self.live.config.control.allow_head:
            raise ConfigError("control.allow_head is false: what this device is taught is its owner's alone")
        return self.teaching.take_head(head.region, head.content)

    def install_model(self, source: ModelSource) -> dict[str, Any]:
        """Begin to exchange the model, where the owner allows that. Raises ModelError."""
        return {"state": self.models.install(source)}

    def config(self) -> Config:
        """The configuration in force."""
        return self.live.config

    def reload(self) -> Reloaded:
        """Take over the edited configuration. Raises ConfigError when it is refused, whole."""
        self._refuse_while_written()
        return self.reloader.reload()

    def _refuse_while_written(self) -> None:
        if self.watcher.is_being_written:
            raise ConfigError("the configuration file is being written: it is read once that is done")
