"""An edit of the configuration: reads the file again, and does what the changes take and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from edge_agent.config.changes import Changes
from edge_agent.config.edit import refuse_not_remote
from edge_agent.config.last_good import LastGood
from edge_agent.config.live import LiveConfig, Refused, ReloadResult
from edge_agent.config.problem import InvalidConfigError
from edge_agent.config.schema import Config, SourceConfig
from edge_agent.config.setting import Apply
from edge_agent.daemon.cooling import Cooling
from edge_agent.daemon.degrade import reduced
from edge_agent.daemon.report import Report
from edge_agent.daemon.restart import PendingRestart
from edge_agent.daemon.schedule import Every
from edge_agent.daemon.service import Service
from edge_agent.daemon.teaching import Teaching
from edge_agent.inference.loading import label_map
from edge_agent.lean_dataclass import dataclass
from edge_agent.memory.budget import BudgetPolicy
from edge_agent.memory.guard import MemoryGuard
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.requests import Reloaded
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.inference_loop import InferenceLoop
from edge_agent.pipeline.rules import Rules
from edge_agent.sources import Source
from edge_agent.system import log
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloader:
    """Takes over an edited configuration, whole or not at all. Used by the main thread.

    `last_good` keeps each configuration that worked; `memory_due` is when `guard` checks.
    """

    live: LiveConfig
    last_good: LastGood | None
    restart: PendingRestart
    loop: InferenceLoop
    capture: CaptureLoop
    link: BrokerLink
    guard: MemoryGuard
    memory_due: Every
    cooling: Cooling
    service: Service
    report: Report
    make_source: Callable[[SourceConfig], Source]
    teaching: Teaching

    def reload(self) -> Reloaded:
        """Take over the edited configuration. Raises InvalidConfigError when it is refused, whole."""
        before = self.live.config
        self.service.reloading()
        try:
            return self._take_over(self.live.reload(), before)
        finally:
            self.report.publish_info()
            self.service.reloaded()

    def reload_saved(self) -> None:
        """Take over the edited configuration, or log why it is refused."""
        try:
            self.reload()
        except InvalidConfigError as error:
            error.log("the edited configuration is refused, the last good one stays in force")

    def override(self, settings: Mapping[str, float]) -> Reloaded:
        """Change settings until the file is read again. Raises ConfigError."""
        before = self.live.config
        accepted = self.live.override(settings)
        if accepted.changes:
            say(_LOG, logging.INFO, "settings changed on request", settings=accepted.changes.describe())
            self._apply_whole(accepted.config, accepted.changes, before)
        self.report.publish_info()
        return Reloaded(tuple(change.key for change in accepted.changes), restarts=False)

    def patch(self, settings: Mapping[str, Any]) -> Reloaded:
        """Write settings into the file, and take it over. Raises ConfigError, and then the file is as before.

        Only settings that others than the file's owner may change are taken.
        """
        refuse_not_remote(settings)
        before = self.live.patch(settings)
        try:
            return self.reload()
        except InvalidConfigError:
            self.live.write(before)
            self.reload_saved()
            raise

    def keep_good(self) -> None:
        """Keep a copy of the configuration in force, with which frames have been classified."""
        if self.last_good:
            self.last_good.keep(self.live.config)

    def _take_over(self, result: ReloadResult, before: Config) -> Reloaded:
        if isinstance(result, Refused):
            raise result.error
        changes = result.changes
        if changes:
            say(_LOG, logging.INFO, "configuration changed", settings=changes.describe())
            self._apply_whole(result.config, changes, before)
            if self.service.is_ready and not self.restart.is_wanted:
                self.keep_good()
        return Reloaded(tuple(change.key for change in changes), self.restart.is_wanted)

    def _apply_whole(self, config: Config, changes: Changes, before: Config) -> None:
        """Apply the changes, or none of them. Raises InvalidConfigError."""
        try:
            self._apply(config, changes)
        except Exception as error:
            with suppress(Exception):
                self._apply(before, changes)
            raise self.live.revert(before, error) from None

    def _apply(self, config: Config, changes: Changes) -> None:
        if Apply.RESTART in changes.kinds:
            needing = [change.key for change in changes if change.apply is Apply.RESTART]
            self.restart.want(f"the configuration changed: {', '.join(needing)}")
            return
        config = reduced(config, self.guard.monitor.steps_taken)
        source = self.make_source(config.source) if Apply.SOURCE in changes.kinds else None
        self._apply_live(config, changes)
        if source is not None:
            self.capture.use_source(source)
        if Apply.BROKER in changes.kinds:
            self.link.reconnect(config)

    def _apply_live(self, config: Config, changes: Changes) -> None:
        log.set_level(config.log.level)
        self.link.adopt(config)
        self.guard.monitor.adopt(BudgetPolicy.from_config(config.memory))
        self.cooling.adopt(config.thermal, CapturePolicy.from_config(config))
        self.memory_due.interval_s = config.memory.check_interval_s
        self.report.health_due.interval_s = config.publish.health_interval_s
        loop, rules = self.loop, Rules.from_config(config)
        loop.between_frames(lambda: loop.adopt(rules))
        if changes.touches("labels"):
            labels = label_map(loop.model.artifact, config.labels)
            loop.between_frames(lambda: loop.model.classifier.use_labels(labels))
        if any(changes.touches(each) for each in ("teach", "regions", "periods", "schedule.night_below")):
            self.teaching.adopt()
