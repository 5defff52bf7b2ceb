"""Thousands of damaged files of every kind that the agent reads: each is read, or refused by name.

No exception but the product's own may leave a reader, and none may take longer than a few seconds.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from edge_agent.config.last_good import LastGood
from edge_agent.config.loader import parse
from edge_agent.config.render import commented_yaml
from edge_agent.config.schema import Config
from edge_agent.daemon.restart import take_reason
from edge_agent.errors import EdgeAgentError
from edge_agent.inference import evidence
from edge_agent.inference.evidence import Calibration, Evidence, EvidenceKey
from edge_agent.model.plan_file import decode_plan, encode_plan
from edge_agent.model.sidecar import FileRole, open_role, read_sidecar
from edge_agent.sources.picture import read_picture
from tests.attack.damage import damaged
from tests.attack.tally import Tally
from tests.model.mutations import mutate
from tests.model.plans import save, small_plan

pytestmark = [pytest.mark.attack, pytest.mark.timeout(1200)]

_LONGEST_S = 5.0
# What YAML gives a meaning to, and what text editors, terminals and other tools leave behind.
_HOSTILE_SCALARS = (
    *("!!bool maybe", "!!int x", "!!python/object/apply:os.system [id]", "!!binary =", "!!null ''", "!x y"),
    *("&a [*a]", "*missing", "{a: {a: {a: {}}}}", "[[[[[[]]]]]]", "? x", "| \n  x", "> x", "%x", "@x", "`x`"),
    *(
        "0777",
        "12:30:45",
        "1e999",
        "-.inf",
        ".nan",
        "0x7fffffffffffffffff",
        "9" * 400,
        "2024-02-30",
        "~",
        "=",
    ),
    *(
        "\u201cx\u201d",
        "\u00a0x",
        "\u202ex",
        "\ufeffx",
        '"\\ud800"',
        '"\\0"',
        '"\\x1b[2J"',
        "#x",
        "- x",
        "<<",
    ),
    *("rtsp://a:b#c@h/x", "rtsp://[::1", "http://h:99999/", "x" * 5000, "''", '""', "yes", "on", "<<", "="),
)


def attempts(count: int, attempt: Callable[[random.Random], bool]) -> str:
    """Try `attempt` with the chances 0 to `count`; it returns whether what it read was good.

    Any exception but the product's own is an error, which names the chance that it came of.
    """
    good = 0
    for number in range(count):
        started_s = time.monotonic()
        try:
            good += attempt(random.Random(number))
        except EdgeAgentError:
            pass
        except BaseException as error:
            error.add_note(f"the chance was random.Random({number})")
            raise
        assert time.monotonic() - started_s < _LONGEST_S, f"random.Random({number}) took too long"
    return f"{count - good:,} refused by name, {good:,} read"


def mutated_yaml(text: str, chance: random.Random) -> str:
    """A configuration file with one to three of its lines changed, moved, indented or damaged."""
    lines = text.splitlines()
    settings = [number for number, line in enumerate(lines) if ":" in line and "#" not in line]
    for _ in range(chance.randint(1, 3)):
        number = min(chance.choice(settings), len(lines) - 1)
        name, _, _ = lines[number].partition(":")
        match chance.randrange(6):
            case 0 | 1 | 2:
                lines[number] = f"{name}: {chance.choice(_HOSTILE_SCALARS)}"
            case 3:
                lines[number] = " " * chance.randint(0, 8) + lines[number].lstrip()
            case 4:
                lines.insert(number, chance.choice(lines))
            case 5:
                del lines[number]
    return "\n".join(lines)


def test_mutated_configurations(tally: Tally) -> None:
    shipped = commented_yaml(Config())
    bare = "\n".join(line for line in shipped.splitlines() if not line.lstrip().startswith("#"))
    count = 10_000

    def attempt(chance: random.Random) -> bool:
        text = mutated_yaml(bare, chance)
        if chance.random() < 0.2:
            text = damaged(text.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "replace")
        parse(text, "attack.yaml", base=Path("/nowhere"), hostname="board")
        return True

    tally.add("configurations, lines exchanged for hostile YAML", count, attempts(count, attempt))


def test_damaged_copies_of_the_last_good_configuration(tmp_path: Path, tally: Tally) -> None:
    copy, count = tmp_path / "last-good.yaml", 2_000
    content = commented_yaml(Config()).encode()

    def attempt(chance: random.Random) -> bool:
        copy.write_bytes(damaged(content, chance))
        return LastGood(copy, tmp_path / "edge-agent.yaml").load() is not None

    tally.add("copies of the last good configuration, damaged", count, attempts(count, attempt))


def test_mutated_plans_are_refused_or_run_but_never_crash(tally: Tally) -> None:
    """In a process of its own, since a plan that deceives the engine would end it by a signal."""
    count = 10_000
    run = subprocess.run(
        [sys.executable, "-m", "tests.inference.hostile", str(count)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    last = run.stdout.splitlines()[-1]
    assert run.returncode == 0, f"plan {last}: {run.returncode} {run.stderr}"
    tally.add("plans, structure changed, run where they pass", count, f"{last}, 0 signals")


def test_plans_of_random_bytes(tally: Tally) -> None:
    content, count = encode_plan(small_plan()[0]), 10_000

    def attempt(chance: random.Random) -> bool:
        document = mutate(content, chance) if chance.random() < 0.5 else content
        decode_plan(damaged(document, chance))
        return True

    tally.add("plans, bytes damaged", count, attempts(count, attempt))


def _model(directory: Path) -> Iterator[Path]:
    plan, blob = small_plan()
    save(plan, blob, directory)
    yield from (path for path in directory.iterdir() if path.is_file())


def test_damaged_model_directories(tmp_path: Path, tally: Tally) -> None:
    pristine, case, count = tmp_path / "pristine", tmp_path / "case", 2_000
    pristine.mkdir()
    files = sorted(path.name for path in _model(pristine))

    def attempt(chance: random.Random) -> bool:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(pristine, case)
        victim = case / chance.choice(files)
        match chance.randrange(6):
            case 0:
                victim.unlink()
            case 1:
                victim.unlink()
                victim.symlink_to(victim)
            case 2:
                victim.unlink()
                victim.mkdir()
            case _:
                victim.write_bytes(damaged(victim.read_bytes(), chance))
        artifact = read_sidecar(case)
        for role in set(get_args(FileRole)) & set(artifact.sidecar.files):
            open_role(artifact, role)
        return True

    outcome = attempts(count, attempt)
    tally.add("model directories: a file damaged, missing, a link to itself, a folder", count, outcome)


def _calibration() -> Calibration:
    key = EvidenceKey("Cortex-A72", ("neon", "fphp"), "0" * 64, "libXNNPACK.so.0", "2.9.1")
    measured = Evidence(
        "xnnpack", "fp16", 2, "fp32", "libXNNPACK", 3, 0.2, 12.0, 13.0, 81.0, 90.0, 1.0, 0.001, (0, 1)
    )
    return Calibration(key, datetime(2026, 1, 1, tzinfo=UTC), 10, "torchscript fp32", (measured,))


def test_damaged_evidence(tmp_path: Path, tally: Tally) -> None:
    file, count = tmp_path / evidence.FILE_NAME, 5_000
    evidence.write(_calibration(), file)
    content = file.read_bytes()

    def attempt(chance: random.Random) -> bool:
        file.write_bytes(damaged(mutate(content, chance) if chance.random() < 0.7 else content, chance))
        evidence.read(file)
        return True

    tally.add("calibration evidence, structure and bytes damaged", count, attempts(count, attempt))


def test_damaged_reasons_of_a_restart(tmp_path: Path, tally: Tally) -> None:
    directory, count = tmp_path / "state", 2_000
    directory.mkdir()

    def attempt(chance: random.Random) -> bool:
        (directory / "restart-reason").write_bytes(chance.randbytes(chance.choice((0, 10, 100_000))))
        assert take_reason(directory).isprintable()
        return True

    tally.add("restart reasons of random bytes", count, attempts(count, attempt))


def _pictures(directory: Path) -> list[tuple[str, bytes]]:
    picture = Image.effect_noise((61, 47), 80).convert("RGB")
    kinds = ("jpg", "png", "bmp", "webp", "gif", "tif", "ppm")
    for kind in kinds:
        picture.save(directory / f"a.{kind}")
    picture.save(directory / "progressive.jpg", progressive=True)
    picture.convert("P").save(directory / "palette.png")
    picture.convert("CMYK").save(directory / "cmyk.jpg")
    return [(path.name, path.read_bytes()) for path in sorted(directory.iterdir())]


def test_damaged_pictures(tmp_path: Path, tally: Tally) -> None:
    originals, count = _pictures(tmp_path), 2_000

    def attempt(chance: random.Random) -> bool:
        name, content = chance.choice(originals)
        file = tmp_path / f"case-{name}"
        file.write_bytes(damaged(content, chance))
        pixels = read_picture(file)
        return pixels.ndim == 3 and pixels.shape[2] == 3

    tally.add("pictures of ten kinds, damaged", count, attempts(count, attempt))
