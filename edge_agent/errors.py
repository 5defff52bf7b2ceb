"""The errors that a user can do something about; each knows the exit code that it ends a command with.

EdgeAgentError              1, where nothing else is said
  ConfigError               2
    InvalidConfigError      in config/problem.py: the file, with each problem's line
    AddressError            in config/address.py
  UsageError                2
  ArtifactError
    PlanError               in model/plan.py
  ModelError
    LoweringError           in tools/builder/lowering/plan_builder.py
      OperationError        in tools/builder/symbolic/operations.py
    WeightsUnavailable      in tools/builder/pretrained.py
    InterruptedTrainingError  in tools/train/loop.py
  EngineError
    UnavailableError        in inference/xnnpack/library.py
    XnnpackError            in inference/xnnpack/library.py
    StepError               in inference/native/library.py
  EvidenceError             in inference/evidence.py
  SourceError
    LastingError            in sources/__init__.py
      LoginRefusedError     in sources/login.py
      StreamTooLargeError   in sources/opencv.py
    PictureError            in sources/picture_header.py
  BudgetError               2
  BrokerError
    BrokerConnectionError   in mqtt/wire/status.py
  InUseError
  WantedError               in mqtt/contract/wanted.py
  TeachError
    HeadFileError           in teach/head_file.py
    OtherExamplesError      in teach/fitting.py
    MeanwhileError          in teach/store.py
  FetchError                in install/fetch.py
  ErrandError               in daemon/errands.py
  BusyError                 in web/agent_view.py
  DemoError                 in tools/demo/play.py
  WorseError                in tools/installer/install.py
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_RESTART = 75  # EX_TEMPFAIL of sysexits.h: the service manager should start the agent again


class EdgeAgentError(Exception):
    """Base of every expected failure.

    The message names the file, key or device concerned and says what to do; the command line prints it as
    it is, without a traceback, and exits with `exit_code`.
    """

    exit_code: ClassVar[int] = EXIT_FAILURE


class ConfigError(EdgeAgentError):
    """The configuration cannot be used; the message lists every problem found."""

    exit_code = EXIT_USAGE


class UsageError(EdgeAgentError):
    """The command was called with arguments that make no sense together."""

    exit_code = EXIT_USAGE


class ArtifactError(EdgeAgentError):
    """A model on disk is missing, damaged, or does not match its sidecar."""


class ModelError(EdgeAgentError):
    """A model cannot be built, lowered or verified."""


class EngineError(EdgeAgentError):
    """An inference engine cannot be started, or failed while running."""


class SourceError(EdgeAgentError):
    """A camera, stream or folder cannot be opened or has stopped delivering frames."""


class BudgetError(EdgeAgentError):
    """The memory budget is below what the agent needs."""

    exit_code = EXIT_USAGE


class BrokerError(EdgeAgentError):
    """An MQTT broker cannot be reached or refuses the connection."""


class InUseError(EdgeAgentError):
    """Another agent uses the same directory."""


class TeachError(EdgeAgentError):
    """An example cannot be taken, or what was taught cannot be read, kept or joined."""
