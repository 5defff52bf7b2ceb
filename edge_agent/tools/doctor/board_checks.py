"""The doctor's checks of the board: CPU, libraries, heat, power, memory, disk and clock."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edge_agent.config.schema import MemoryConfig
from edge_agent.inference.host import Host
from edge_agent.system.board import Board, CgroupMemory, Throttling
from edge_agent.system.clock import Clock
from edge_agent.system.overlay import forgotten
from edge_agent.tools.doctor.check import Check, fail, ok, warn

_HOT_C = 75.0
_TIGHT_DISK_MB = 256
_FULL_DISK_MB = 32
_MB = 1 << 20
_CPU_MACHINES = ("aarch64", "x86_64")

_CAUSES = {
    "under_voltage": "the power supply is too weak: use the board's own, and a short cable",
    "frequency_capped": "the firmware holds the clock down: check cooling and power supply",
    "throttled": "the CPU is too hot: add a heat sink or a fan, or lower source.fps",
    "soft_temperature_limit": "the CPU is warm enough to be slowed: improve the cooling",
}


def cpu(host: Host, machine: str) -> Check:
    """Whether the processor is one that the engines have kernels for."""
    found = f"{host.cpu.name}, {host.usable_cores} cores, {machine}"
    if machine not in _CPU_MACHINES:
        return fail("cpu", found, "install a 64-bit operating system")
    arithmetic = "FP16 arithmetic" if host.cpu.has_fp16_arithmetic else "no FP16 arithmetic: FP32 is used"
    return ok("cpu", f"{found}, {arithmetic}")


def native_engine(host: Host) -> Check:
    """Whether there are kernels for this CPU."""
    if host.native:
        fp16 = "; FP16 arithmetic too, where `calibrate` finds it as good" if host.native_fp16 else ""
        return ok("native engine", f"{host.native}{fp16}")
    return warn("native engine", "no usable kernels", host.native_problem)


def xnnpack_engine(host: Host) -> Check:
    """Whether libXNNPACK is there, which the agent falls back to."""
    if host.xnnpack:
        return ok("xnnpack engine", host.xnnpack)
    if host.native:
        return ok("xnnpack engine", "not installed; the native engine does not need it")
    return warn("xnnpack engine", "no usable libXNNPACK", host.xnnpack_problem)


def torch(host: Host, machine: str) -> Check:
    """Whether torch is there, without importing it, and is a build for this kind of machine."""
    if not host.torch:
        return ok("torch", "not installed; only the torchscript engine needs it")
    if host.torch_cuda and machine == "aarch64":
        advice = (
            "pip install 'torch<2.11': later ones bring gigabytes for a GPU that this board does not have"
        )
        return warn("torch", f"{host.torch}, built for CUDA {host.torch_cuda}", advice)
    build = f"built for CUDA {host.torch_cuda}" if host.torch_cuda else "CPU build"
    return ok("torch", f"{host.torch}, {build}")


def temperature(degrees_c: float | None) -> Check:
    if degrees_c is None:
        return ok("temperature", "this board does not report it")
    if degrees_c >= _HOT_C:
        advice = "improve the cooling: from 80 C on a Raspberry Pi lowers its clock"
        return warn("temperature", f"{degrees_c:.0f} C", advice)
    return ok("temperature", f"{degrees_c:.0f} C")


def throttling(known: Throttling | None) -> Check:
    """Whether the firmware slows the clock. Under-voltage fails, because it corrupts SD cards."""
    if known is None:
        return ok("throttling", "this board does not report it")
    flags = (
        ("under_voltage", known.under_voltage),
        ("frequency_capped", known.frequency_capped),
        ("throttled", known.throttled),
        ("soft_temperature_limit", known.soft_temperature_limit),
    )
    now = [name for name, is_set in flags if is_set]
    if now:
        verdict = fail if known.under_voltage else warn
        return verdict("throttling", f"now: {_listed(now)}", "; ".join(_CAUSES[name] for name in now))
    if known.occurred:
        advice = "; ".join(_CAUSES[name] for name in known.occurred)
        return warn("throttling", f"since the boot: {_listed(known.occurred)}", advice)
    return ok("throttling", "none since the boot")


def kernel_limit(cgroup: CgroupMemory, budget_mb: float) -> Check:
    """Whether MemoryMax in the unit has an effect. The agent holds its budget without it, too."""
    if not cgroup.live:
        advice = (
            "the agent holds its budget itself; for the kernel's limit as a second line of defence, add"
            " cgroup_enable=memory to the kernel command line (/boot/firmware/cmdline.txt) and reboot"
        )
        return warn("kernel limit", "the memory cgroup is off: MemoryMax in the unit does nothing", advice)
    if cgroup.limit_mb is None:
        return ok("kernel limit", "the memory cgroup is on; no limit is set for this process")
    found = f"{cgroup.limit_mb:.0f} MB"
    if cgroup.limit_mb < budget_mb:
        advice = f"raise MemoryMax above memory.budget_mb ({budget_mb:g}), or lower the budget"
        return fail("kernel limit", f"{found}, below the budget", advice)
    return ok("kernel limit", found)


def memory(config: MemoryConfig, available_mb: float | None) -> Check:
    """Whether as much memory is available as the budget allows."""
    if available_mb is None:
        return ok("memory", "this kernel does not report how much is available")
    found = f"{available_mb:.0f} MB available, budget {config.budget_mb} MB"
    if available_mb < config.budget_mb:
        return warn("memory", found, "stop other programs, or lower memory.budget_mb")
    return ok("memory", found)


def disk(state_dir: Path, free_bytes: Callable[[Path], int] | None = None) -> Check:
    """Whether events can wait on disk while the broker is down."""
    place = _nearest(state_dir)
    if not os.access(place, os.W_OK):
        found = f"{place} cannot be written to"
        return warn(
            "disk",
            found,
            "events that wait for the broker are lost with the power; run as the service's user",
        )
    free_mb = (free_bytes or _free_bytes)(place) / _MB
    found = f"{free_mb:.0f} MB free for {state_dir}"
    if free_mb < _FULL_DISK_MB:
        return fail("disk", found, "free some space: events that wait for the broker cannot be kept")
    if free_mb < _TIGHT_DISK_MB:
        return warn("disk", found, "free some space")
    return ok("disk", found)


def lasting(state_dir: Path, proc: Path = Path("/proc")) -> Check:
    """Whether what is written is there after a reboot: a board with its overlay file system on forgets it."""
    if reason := forgotten(state_dir, proc):
        advice = "until then edits, calibration and waiting events are gone with the next boot"
        return warn("lasting storage", reason, advice)
    return ok("lasting storage", f"{state_dir} outlives a reboot")


def time_of_day(clock: Clock) -> Check:
    """Whether timestamps can be trusted."""
    if clock.synced():
        return ok("clock", "set from a time server")
    advice = "enable systemd-timesyncd (timedatectl set-ntp true); until then payloads say ts_synced: false"
    return warn("clock", "not set from a time server", advice)


def all_checks(
    board: Board, host: Host, config: MemoryConfig, state_dir: Path, clock: Clock
) -> tuple[Check, ...]:
    """All checks that need no configuration except the budget, in the order in which they are shown."""
    machine = os.uname().machine
    return (
        cpu(host, machine),
        native_engine(host),
        xnnpack_engine(host),
        torch(host, machine),
        temperature(board.temperature_c()),
        throttling(board.throttling()),
        kernel_limit(board.cgroup(), config.budget_mb),
        memory(config, board.available_mb()),
        disk(state_dir),
        lasting(state_dir),
        time_of_day(clock),
    )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest directory above it that exists."""
    return next((place for place in (path, *path.parents) if place.exists()), Path("/"))


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
