"""What the board reports, on made-up trees of boards that are not here and on this machine's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.system.board import Board, CgroupMemory, parse_cpuinfo, parse_throttled

_PI5 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes fphp asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp asimd evtstrm aes fphp asimdhp asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
_BIG_LITTLE = "Features: fp asimd asimdhp\nCPU part: 0xd0b\nFeatures: fp asimd\nCPU part: 0xd03\n"
_X86 = "model name\t: AMD EPYC\nflags\t\t: fpu avx2 f16c\n"


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_pi_5_has_fp16_arithmetic() -> None:
    cpu = parse_cpuinfo(_PI5)
    assert (cpu.name, cpu.cores, cpu.has_fp16_arithmetic) == ("Cortex-A76", 2, True)


def test_of_unequal_cores_only_what_all_can_do_counts() -> None:
    cpu = parse_cpuinfo(_BIG_LITTLE)
    assert cpu.name == "Cortex-A53/Cortex-A76"
    assert cpu.flags == ("asimd", "fp")
    assert not cpu.has_fp16_arithmetic


def test_an_x86_cpu_is_named_by_its_model() -> None:
    cpu = parse_cpuinfo(_X86)
    assert (cpu.name, cpu.flags, cpu.has_fp16_arithmetic) == ("AMD EPYC", ("avx2", "f16c", "fpu"), False)


@given(st.text())
def test_any_cpuinfo_is_some_cpu(text: str) -> None:
    assert parse_cpuinfo(text).cores >= 1


def test_the_firmware_s_bits_are_decoded() -> None:
    now = parse_throttled("throttled=0x50005\n")
    assert now is not None
    assert (now.under_voltage, now.frequency_capped, now.throttled) == (True, False, True)
    assert now.occurred == ("under_voltage", "throttled")
    assert now.is_slowed


def test_under_voltage_alone_does_not_slow_the_cpu() -> None:
    now = parse_throttled("1")
    assert now is not None
    assert (now.under_voltage, now.is_slowed, now.occurred) == (True, False, ())


@given(st.integers(0, 2**32 - 1))
def test_each_bit_is_kept_apart(bits: int) -> None:
    now = parse_throttled(f"throttled={bits:#x}")
    assert now is not None
    flags = (now.under_voltage, now.frequency_capped, now.throttled, now.soft_temperature_limit)
    assert sum(flag << i for i, flag in enumerate(flags)) == bits & 0xF
    assert len(now.occurred) == (bits >> 16 & 0xF).bit_count()


@given(st.text())
def test_any_answer_of_the_firmware_is_decoded_or_refused(text: str) -> None:
    known = parse_throttled(text)
    assert known is None or len(known.occurred) <= 4


def _cores(root: Path, name: str, speeds: list[int]) -> Board:
    files = {f"sys/devices/system/cpu/cpu{core}/{name}": f"{speed}\n" for core, speed in enumerate(speeds)}
    return Board(_tree(root, files | {"sys/devices/system/cpu/cpufreq/boost": "1\n"}))


@pytest.mark.parametrize("name", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_of_unequal_cores_the_fastest_are_known(tmp_path: Path, name: str) -> None:
    assert _cores(tmp_path, name, [414, 414, 1024, 1024]).fastest_cores() == (2, 3)


def test_of_equal_cores_none_is_fastest(tmp_path: Path) -> None:
    assert _cores(tmp_path, "cpu_capacity", [1024] * 4).fastest_cores() == ()


def test_where_the_speed_of_one_core_is_unknown_none_is_fastest(tmp_path: Path) -> None:
    board = _cores(tmp_path, "cpu_capacity", [414, 1024])
    (tmp_path / "sys/devices/system/cpu/cpu2").mkdir()
    assert board.fastest_cores() == ()


def test_the_cpu_s_own_sensor_is_preferred(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "gpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "80000\n",
            "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone1/temp": "51250\n",
        },
    )
    assert Board(root).temperature_c() == 51.25


def test_of_unknown_sensors_the_hottest_believable_one_counts(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/type": "acpitz\n",
            "sys/class/thermal/thermal_zone0/temp": "40000\n",
            "sys/class/thermal/thermal_zone1/type": "other\n",
            "sys/class/thermal/thermal_zone1/temp": "-274000\n",
            "sys/class/thermal/thermal_zone2/type": "off\n",
            "sys/class/thermal/thermal_zone2/temp": "",
        },
    )
    assert Board(root).temperature_c() == 40


def test_throttling_is_read_from_sysfs_without_starting_a_program(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "80008\n"})
    known = Board(root, run=_never).throttling()
    assert known is not None
    assert known.soft_temperature_limit


def test_without_sysfs_the_firmware_is_asked_by_vcgencmd(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"usr/bin/vcgencmd": ""})
    asked: list[list[str]] = []

    def run(command: list[str]) -> str:
        asked.append(command)
        return "throttled=0x4\n"

    known = Board(root, run).throttling()
    assert known is not None
    assert known.throttled
    assert asked == [[str(root / "usr/bin/vcgencmd"), "get_throttled"]]


def test_a_real_vcgencmd_that_may_not_ask_the_firmware_is_no_error(tmp_path: Path) -> None:
    program = _tree(tmp_path, {"usr/bin/vcgencmd": "#!/bin/sh\necho 'VCHI failed'\nexit 255\n"})
    board = Board(program)
    assert board.throttling() is None  # not executable
    (tmp_path / "usr/bin/vcgencmd").chmod(0o755)
    assert board.throttling() is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CgroupMemory(False, None)),
        (
            # Stock Raspberry Pi OS: version 2, without the memory controller.
            {
                "proc/self/cgroup": "0::/system.slice/a.service\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu io\n",
            },
            CgroupMemory(False, None),
        ),
        (
            {
                "proc/self/cgroup": "0::/system.slice/a.service\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n",
                "sys/fs/cgroup/system.slice/a.service/memory.max": "max\n",
                "sys/fs/cgroup/system.slice/memory.max": f"{256 << 20}\n",
            },
            CgroupMemory(True, 256),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/a/b\n0::/\n",
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": f"{128 << 20}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            CgroupMemory(True, 128),
        ),
    ],
)
def test_the_kernel_s_limit_is_the_lowest_on_the_way_up(
    tmp_path: Path, files: dict[str, str], expected: CgroupMemory
) -> None:
    assert Board(_tree(tmp_path, files)).cgroup() == expected


def test_a_board_that_reports_nothing_is_no_error(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert (board.model(), board.temperature_c(), board.throttling()) == ("", None, None)
    assert board.available_mb() is None


def test_the_model_is_read_without_its_trailing_zero(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\x00"})
    assert Board(root).model() == "Raspberry Pi 4 Model B Rev 1.5"


def test_this_machine_is_read() -> None:
    board = Board()
    assert len(board.cpu().flags) > 5
    assert (board.available_mb() or 0) > 100
    assert board.cgroup().limit_mb is None or board.cgroup().live
    temperature_c = board.temperature_c()
    assert temperature_c is None or -50 < temperature_c < 150


def _never(_: list[str]) -> str:
    raise AssertionError("no program should have been started")


@pytest.mark.parametrize(
    ("interfaces", "mac"),
    [
        ({"wlan0": "D8:3A:DD:01:02:04", "eth0": "d8:3a:dd:01:02:03"}, "d8:3a:dd:01:02:03"),
        ({"eth0": "00:00:00:00:00:00", "wlan0": "d8:3a:dd:01:02:04"}, "d8:3a:dd:01:02:04"),
        ({"eth0": "not an address"}, ""),
        ({}, ""),
    ],
)
def test_the_hardware_address_is_that_of_a_real_interface(
    tmp_path: Path, interfaces: dict[str, str], mac: str
) -> None:
    net = "sys/class/net"
    _tree(tmp_path, {f"{net}/{name}/address": f"{address}\n" for name, address in interfaces.items()})
    _tree(tmp_path, {f"{net}/{name}/device/uevent": "" for name in interfaces})
    _tree(
        tmp_path, {f"{net}/docker0/address": "02:42:ac:11:00:02\n", f"{net}/lo/address": "00:00:00:00:00:00"}
    )
    assert Board(tmp_path).mac() == mac
