"""An edit of the configuration: reads the file again, and does what the changes take and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.config.changes import Changes
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
from edge_agent.inference.loading import label_map
from edge_agent.memory.budget import BudgetPolicy
from edge_agent.memory.guard import MemoryGuard
from edge_agent.mqtt.link import BrokerLink
from edge_agent.mqtt.requests import Reloaded
from edge_agent.pipeline.capture_loop import CaptureLoop, CapturePolicy
from edge_agent.pipeline.inference_loop import InferenceLoop, Rules
from edge_agent.sources import Source
from edge_agent.system import log
from edge_agent.system.log import say

_LOG = logging.getLogger(__name__)


class Reloader:
    """Takes over an edited configuration, whole or not at all. Used by the main thread."""

    def __init__(
        self,
        live: LiveConfig,
        last_good: LastGood | None,
        restart: PendingRestart,
        loop: InferenceLoop,
        capture: CaptureLoop,
        link: BrokerLink,
        guard: MemoryGuard,
        memory_due: Every,
        cooling: Cooling,
        service: Service,
        report: Report,
        make_source: Callable[[SourceConfig], Source],
    ) -> None:
        """`last_good` keeps each configuration that worked; `memory_due` is when `guard` checks."""
        self._live = live
        self._last_good = last_good
        self._restart = restart
        self._loop = loop
        self._capture = capture
        self._link = link
        self._guard = guard
        self._memory_due = memory_due
        self._cooling = cooling
        self._service = service
        self._report = report
        self._make_source = make_source

    def reload(self) -> Reloaded:
        """Take over the edited configuration. Raises InvalidConfigError when it is refused, whole."""
        self._service.reloading()
        try:
            return self._take_over(self._live.reload())
        finally:
            self._report.publish_info()
            self._service.reloaded()

    def reload_saved(self) -> None:
        """Take over the edited configuration, or log why it is refused."""
        try:
            self.reload()
        except InvalidConfigError as error:
            error.log("the edited configuration is refused, the last good one stays in force")

    def keep_good(self) -> None:
        """Keep a copy of the configuration in force, with which frames have been classified."""
        if self._last_good:
            self._last_good.keep(self._live.config)

    def _take_over(self, result: ReloadResult) -> Reloaded:
        if isinstance(result, Refused):
            raise result.error
        changes = result.changes
        if changes:
            say(_LOG, logging.INFO, "configuration changed", settings=changes.describe())
            self._apply(result.config, changes)
        return Reloaded(tuple(change.key for change in changes), self._restart.is_wanted)

    def _apply(self, config: Config, changes: Changes) -> None:
        if Apply.RESTART in changes.kinds:
            needing = [change.key for change in changes if change.apply is Apply.RESTART]
            self._restart.want(f"the configuration changed: {', '.join(needing)}")
            return
        config = reduced(config, self._guard.monitor.steps_taken)
        self._apply_live(config, changes)
        if Apply.SOURCE in changes.kinds:
            self._capture.use_source(self._make_source(config.source))
        if Apply.BROKER in changes.kinds:
            self._link.reconnect(config)
        if self._service.is_ready:
            self.keep_good()

    def _apply_live(self, config: Config, changes: Changes) -> None:
        log.set_level(config.log.level)
        self._link.adopt(config)
        self._guard.monitor.adopt(BudgetPolicy.from_config(config.memory))
        self._cooling.adopt(config.thermal, CapturePolicy.from_config(config.source))
        self._memory_due.interval_s = config.memory.check_interval_s
        self._report.health_due.interval_s = config.publish.health_interval_s
        loop, rules = self._loop, Rules.from_config(config)
        loop.between_frames(lambda: loop.adopt(rules))
        if changes.touches("labels"):
            labels = label_map(loop.model.artifact, config.labels)
            loop.between_frames(lambda: loop.model.classifier.use_labels(labels))
