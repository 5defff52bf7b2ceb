"""Reads what the board reports: its CPU, temperature, throttling, and the kernel's memory limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from edge_agent.lean_dataclass import dataclass
from edge_agent.system.files import read_or_empty

_MB = 1 << 20
_CGROUP1_UNLIMITED = 1 << 60  # version 1 says "no limit" by a number near 2^63
_VCGENCMD = "usr/bin/vcgencmd"
_VCGENCMD_TIMEOUT_S = 5
_HOTTEST_BELIEVABLE_C = 150.0
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")

# The parts of implementer 0x41 (Arm) in the boards that this runs on, from Arm's reference manuals.
_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd4c": "Cortex-X1C",
}
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "x86_pkg_temp", "soc-thermal")

# Bits of the Raspberry Pi firmware's get_throttled; 16 bits higher: has occurred since the boot.
_UNDER_VOLTAGE, _FREQUENCY_CAPPED, _THROTTLED, _SOFT_TEMPERATURE_LIMIT = range(4)
_THROTTLE_NAMES = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
_OCCURRED_SHIFT = 16


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor; `flags` are the kernel's names of its features, sorted."""

    name: str
    cores: int
    flags: tuple[str, ...]

    @property
    def has_fp16_arithmetic(self) -> bool:
        """Whether it computes on vectors of FP16 numbers: ARMv8.2's asimdhp, or x86's AVX512-FP16."""
        return "asimdhp" in self.flags or "avx512_fp16" in self.flags


@dataclass(frozen=True, slots=True)
class Throttling:
    """What the firmware does to the CPU now, and what has occurred since the boot."""

    under_voltage: bool
    frequency_capped: bool
    throttled: bool
    soft_temperature_limit: bool
    occurred: tuple[str, ...]

    @property
    def is_slowed(self) -> bool:
        """Whether the CPU runs slower than it could."""
        return self.frequency_capped or self.throttled or self.soft_temperature_limit


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """The kernel's own memory limit for this process."""

    live: bool
    """Whether the kernel's memory controller is on at all: without it MemoryMax in a unit does nothing."""
    limit_mb: float | None
    """The lowest limit on the way up to the root; None where there is none."""


def parse_cpuinfo(text: str) -> Cpu:
    """Return the processor by the text of /proc/cpuinfo, with the features that all of its cores have."""
    names: list[str] = []
    parts: list[str] = []
    features: list[set[str]] = []
    for line in text.splitlines():
        key, _, value = (word.strip() for word in line.partition(":"))
        if key == "model name":
            names.append(value)
        elif key == "CPU part":
            parts.append(_ARM_PARTS.get(value.lower(), f"ARM part {value}"))
        elif key in ("flags", "Features"):
            features.append(set(value.split()))
    flags = set.intersection(*features) if features else set()
    name = "/".join(sorted(set(parts or names))) or "unknown CPU"
    return Cpu(name, max(1, len(features)), tuple(sorted(flags)))


def parse_throttled(text: str) -> Throttling | None:
    """Decode `throttled=0x50005` (vcgencmd) or `50005` (sysfs, hexadecimal too); None for anything else."""
    word = text.strip().removeprefix("throttled=")
    try:
        bits = int(word, 16)
    except ValueError:
        return None
    if not 0 <= bits < 1 << 32:
        return None
    occurred = bits >> _OCCURRED_SHIFT
    return Throttling(
        under_voltage=_has(bits, _UNDER_VOLTAGE),
        frequency_capped=_has(bits, _FREQUENCY_CAPPED),
        throttled=_has(bits, _THROTTLED),
        soft_temperature_limit=_has(bits, _SOFT_TEMPERATURE_LIMIT),
        occurred=tuple(name for bit, name in enumerate(_THROTTLE_NAMES) if _has(occurred, bit)),
    )


class Board:
    """Reads /proc and /sys. A figure that the board does not have is None or empty, never an error."""

    def __init__(self, root: Path = Path("/"), run: Callable[[list[str]], str] | None = None) -> None:
        """`root` holds `proc`, `sys` and `usr`; `run` starts a program and returns what it prints."""
        self._root = root
        self._run = _run if run is None else run

    def model(self) -> str:
        """The name in the device tree, `Raspberry Pi 5 Model B Rev 1.0`; empty where there is none."""
        return self._read("proc/device-tree/model").strip("\x00\n ")

    def mac(self) -> str:
        """The hardware address of its first network interface, wired before wireless; empty without one."""
        for path in sorted((self._root / "sys/class/net").glob("*/address")):
            address = read_or_empty(path).strip().lower()
            # A bridge or tunnel has no device behind it, and an address of its own making.
            if (path.parent / "device").exists() and _MAC.fullmatch(address) and address.strip("0:"):
                return address
        return ""

    def cpu(self) -> Cpu:
        """The processor, by /proc/cpuinfo."""
        return parse_cpuinfo(self._read("proc/cpuinfo"))

    def fastest_cores(self) -> tuple[int, ...]:
        """The cores that are faster than others (big.LITTLE); empty where all are alike or one is unknown."""
        speeds = {int(path.name.removeprefix("cpu")): _speed(path) for path in self._cores()}
        fastest = max(speeds.values(), default=0)
        if min(speeds.values(), default=0) in (0, fastest):
            return ()
        return tuple(sorted(core for core, speed in speeds.items() if speed == fastest))

    def shared_l2_bytes(self, cores: Sequence[int]) -> int:
        """The size of the level 2 cache that those cores have in common; 0 where they have more than one.

        Two threads of one core do not count as two.
        """
        caches = [self._l2(core) for core in cores]
        siblings = self._read(f"sys/devices/system/cpu/cpu{cores[0]}/topology/thread_siblings_list").strip()
        shared, size = caches[0]
        is_shared = shared not in ("", siblings) and all(cache == caches[0] for cache in caches)
        return size if is_shared else 0

    def _l2(self, core: int) -> tuple[str, int]:
        """Which cores share a core's level 2 cache, as the kernel writes it, and its size in bytes."""
        for place in range(8):
            index = f"sys/devices/system/cpu/cpu{core}/cache/index{place}"
            if self._read(f"{index}/level").strip() == "2":
                size = re.fullmatch(r"(\d+)K", self._read(f"{index}/size").strip())
                return self._read(f"{index}/shared_cpu_list").strip(), int(size[1]) << 10 if size else 0
        return "", 0

    def temperature_c(self) -> float | None:
        """The temperature in degrees Celsius by the sensor named for the CPU, else by the hottest one."""
        zones = dict(self._zones())
        named = [zones[name] for name in _CPU_ZONES if name in zones]
        return named[0] if named else max(zones.values(), default=None)

    def throttling(self) -> Throttling | None:
        """The report of the Raspberry Pi's firmware; None on another board, or where access is denied."""
        for path in sorted((self._root / "sys/devices/platform").glob("soc*/*firmware*/get_throttled")):
            if (known := parse_throttled(read_or_empty(path))) is not None:
                return known
        return self._ask_firmware()

    def cgroup(self) -> CgroupMemory:
        """The limit that the kernel would enforce on this process."""
        for line in self._read("proc/self/cgroup").splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            if "memory" in controllers.split(","):
                return CgroupMemory(True, self._limit("memory", path, "memory.limit_in_bytes"))
            if not controllers and "memory" in self._read("sys/fs/cgroup/cgroup.controllers").split():
                return CgroupMemory(True, self._limit("", path, "memory.max"))
        return CgroupMemory(False, None)

    def available_mb(self) -> float | None:
        """Memory that programs can still get, in MB (MiB), by /proc/meminfo; None where that does not say."""
        for line in self._read("proc/meminfo").splitlines():
            key, _, value = line.partition(":")
            number = value.split()[:1]
            if key == "MemAvailable" and number and number[0].isdecimal():
                return int(number[0]) / 1024
        return None

    def _cores(self) -> Iterator[Path]:
        return (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*")

    def _zones(self) -> Iterator[tuple[str, float]]:
        for zone in sorted((self._root / "sys/class/thermal").glob("thermal_zone*")):
            try:
                degrees_c = int(read_or_empty(zone / "temp")) / 1000
            except ValueError:  # a sensor that is off
                continue
            if abs(degrees_c) < _HOTTEST_BELIEVABLE_C:
                yield read_or_empty(zone / "type").strip(), degrees_c

    def _ask_firmware(self) -> Throttling | None:
        program = self._root / _VCGENCMD
        if not program.exists():
            return None
        try:
            return parse_throttled(self._run([str(program), "get_throttled"]))
        except OSError:
            return None

    def _limit(self, hierarchy: str, path: str, name: str) -> float | None:
        top = self._root / "sys/fs/cgroup" / hierarchy
        inner = PurePosixPath(path.lstrip("/"))
        limits = (_limit_mb(read_or_empty(top / level / name)) for level in (inner, *inner.parents))
        return min((limit for limit in limits if limit is not None), default=None)

    def _read(self, name: str) -> str:
        return read_or_empty(self._root / name)


def _speed(core: Path) -> int:
    """A core's speed in a unit of the kernel: its scheduler's, else of the highest clock; 0 if unknown."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        if (text := read_or_empty(core / name).strip()).isdecimal():
            return int(text)
    return 0


def _has(bits: int, bit: int) -> bool:
    return bool(bits >> bit & 1)


def _limit_mb(text: str) -> float | None:
    word = text.strip()
    if not word.isdecimal() or int(word) >= _CGROUP1_UNLIMITED:
        return None
    return int(word) / _MB


def _run(command: list[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_VCGENCMD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout
