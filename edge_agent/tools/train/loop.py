"""One training: steps, one after the other, and the state on disk from which it goes on after it was killed.

Everything that a step does follows from the seed, the number of the step, and the state: so a training that
was interrupted ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.errors import ModelError
from edge_agent.model.sidecar import Preprocessing
from edge_agent.tools import Report
from edge_agent.tools.progress_line import duration
from edge_agent.tools.train.average import Average
from edge_agent.tools.train.network import Scope, Trainee, set_scope
from edge_agent.tools.train.pictures import Pictures, middle, varied
from edge_agent.tools.train.recompute import Checkpoint, as_it_answers, recompute
from edge_agent.tools.train.workers import ALONE, Workers

_SAVING_SHARE = 0.05
_MOMENTUM, _DECAY, _WARM_UP = 0.9, 1e-4, 0.05


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Two trainings by the same recipe on the same set give the same weights on one machine."""

    arch: str
    start: str
    """`own`, `none`, or a file of weights."""
    scope: Scope = "all"
    epochs: int = 20
    batch: int = 32
    """Pictures a step, of all workers together."""
    accumulate: int = 1
    """A step's pictures go through the network in so many parts."""
    rate: float = 0.02
    smoothing: float = 0.1
    patience: int = 6
    """Epochs without a better loss on the pictures to tune on, after which it ends."""
    average: bool = False
    """Judge and keep the mean of the weights over about the last epoch, not those of the last step."""
    checkpoint: Checkpoint = "none"
    precision: str = "fp32"
    seed: int = 0

    @property
    def at_once(self) -> int:
        """How many pictures go through the network together."""
        return math.ceil(self.batch / self.accumulate)


@dataclass(frozen=True, slots=True)
class Sets:
    """The pictures, their labels as numbers, and which are learnt from and tuned on."""

    pictures: Pictures
    truth: NDArray[np.intp]
    learn: tuple[int, ...]
    tune: tuple[int, ...]


@dataclass(slots=True)
class Progress:
    """How far a training is."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    losses: list[float] = field(default_factory=list)
    """Of each step."""
    tuned: list[tuple[float, float]] = field(default_factory=list)
    """Loss and accuracy on the pictures to tune on, after each epoch."""

    def epoch_losses(self) -> list[float]:
        """The mean loss of the steps of each epoch that has ended."""
        epochs = len(self.tuned)
        steps = len(self.losses) // max(epochs, 1)
        return [float(np.mean(self.losses[each * steps : (each + 1) * steps])) for each in range(epochs)]


class InterruptedTrainingError(ModelError):
    """It was asked to stop; its state is on the disk."""


@dataclass(slots=True)
class Training:
    """A training in a folder of its own, which nobody else writes to."""

    trainee: Trainee
    recipe: Recipe
    sets: Sets
    folder: Path
    identity: str
    """Of the set and the recipe: a state of another one is refused."""
    report: Report
    is_stopped: Callable[[], bool] = lambda: False
    show: Callable[[str], None] = lambda _: None
    """Takes a line about how far it is, after each step."""
    workers: Workers = ALONE
    """Those who train this network together, each in a process of its own."""
    most: Callable[[], int] = lambda: sys.maxsize
    """How many pictures the next step may take through the network at once."""
    _average: Average | None = None
    _progress: Progress = field(default_factory=Progress)
    _save_due_s: float = 0.0

    def run(self) -> Progress:
        """Train to the end, and leave the best weights in the writer's network, on the CPU.

        Raises InterruptedTrainingError.
        """
        learning = set_scope(self.trainee, self.recipe.scope)
        network = self.trainee.module.to(self._device).to(memory_format=torch.channels_last)
        optimizer = optimizer_of(network)
        if self.recipe.average:
            self._average = Average(network, learning, max(self._steps, 10))
        self._load(network, optimizer)
        if self.recipe.scope == "all":
            recompute(network, self.recipe.checkpoint, self.trainee.preprocessing.crop)
        elif self.recipe.checkpoint != "none":
            raise ModelError(
                "--checkpoint saves nothing where only a part learns: leave it out, or --scope all"
            )
        weights = weights_of(self.sets.truth[list(self.sets.learn)])
        together = self.workers.together(network)
        started, started_s = self._progress.step, time.monotonic()
        while not self._is_done():
            is_last = self._step(together, optimizer, weights, learning)
            self._show((time.monotonic() - started_s) / (self._progress.step - started))
            if self._progress.step % self._steps == 0:
                self._end_epoch(network)
            self._save(network, optimizer, is_due=is_last or self._is_done())
            if is_last:
                raise InterruptedTrainingError(
                    f"stopped after step {self._progress.step}: the same command goes on from there"
                )
        network.cpu().eval()
        if self.workers.is_writer:
            network.load_state_dict(
                torch.load(self.folder / "best.pt", map_location="cpu", weights_only=True)
            )
        return self._progress

    @property
    def _device(self) -> torch.device:
        return self.workers.device()

    @property
    def _steps(self) -> int:
        return max(1, len(self.sets.learn) // self.recipe.batch)

    def _is_done(self) -> bool:
        epoch, rest = divmod(self._progress.step, self._steps)
        has_waited = rest == 0 and epoch - 1 - self._progress.best_epoch >= self.recipe.patience
        return epoch >= self.recipe.epochs or has_waited

    def _step(
        self, network: nn.Module, optimizer: torch.optim.SGD, weights: Tensor, learning: Sequence[nn.Module]
    ) -> bool:
        """Take one; returns whether a worker was asked to stop, after which all do."""
        recipe, step = self.recipe, self._progress.step
        torch.manual_seed(recipe.seed * 1_000_003 + step + (self.workers.rank << 40))
        for module in learning:
            module.train()
        optimizer.param_groups[0]["lr"] = recipe.rate * schedule(step, recipe.epochs * self._steps)
        epoch, turn = divmod(step, self._steps)
        order = np.random.default_rng((recipe.seed, epoch)).permutation(np.array(self.sets.learn))
        places = order[turn * recipe.batch : (turn + 1) * recipe.batch]
        whole = float(weights[torch.from_numpy(self.sets.truth[places])].sum())
        total = self._gradients(network, self.workers.share(places), weights / whole, epoch)
        total, stopped = self.workers.summed((total, self.is_stopped()))
        if not math.isfinite(total):
            raise ModelError(f"the loss of step {step} is not finite: train with a lower --rate")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.workers.average_statistics(network)
        self._progress.step += 1
        self._progress.losses.append(total)
        if self._average:
            self._average.update(self._progress.step)
        return stopped > 0

    def _gradients(self, network: nn.Module, places: NDArray[np.int64], weights: Tensor, epoch: int) -> float:
        """Add up the gradients of this worker's pictures, part by part; returns their share of the loss."""
        recipe, device, total = self.recipe, self._device, 0.0
        least = math.ceil(len(places) / self.most())
        parts = np.array_split(places, min(max(recipe.accumulate, least), len(places)))
        for number, part in enumerate(parts, 1):
            truth = torch.from_numpy(self.sets.truth[part])
            with nullcontext() if number == len(parts) else self.workers.alone(network):
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                    logits = network(self._inputs(part, epoch).to(device))
                each = functional.cross_entropy(
                    logits.float(), truth.to(device), reduction="none", label_smoothing=recipe.smoothing
                )
                loss = (each * weights[truth].to(device)).sum()
                # Workers' gradients are averaged, and the loss is a sum.
                (loss * self.workers.count).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def _show(self, step_s: float) -> None:
        progress, steps = self._progress, self._steps
        epoch, turn = divmod(progress.step - 1, steps)
        right = f", {progress.tuned[-1][1]:.1%} right" if progress.tuned else ""
        left_s = step_s * (self.recipe.epochs * steps - progress.step)
        self.show(
            f"epoch {epoch + 1} of {self.recipe.epochs}, step {turn + 1} of {steps}:"
            f" loss {progress.losses[-1]:.4f}{right}, {duration(left_s)} left at most"
        )

    def _inputs(self, places: NDArray[Any], epoch: int) -> Tensor:
        crop = self.trainee.preprocessing.crop
        seen = [
            varied(
                self.sets.pictures.read(place), crop, np.random.default_rng((self.recipe.seed, epoch, place))
            )
            for place in places
        ]
        return inputs_of(seen, self.trainee.preprocessing)

    def _end_epoch(self, network: nn.Module) -> None:
        with self._average.in_place() if self._average else nullcontext():
            self._tune(network)
        progress, (loss, accuracy) = self._progress, self._progress.tuned[-1]
        self.report(
            f"epoch {len(progress.tuned)} of {self.recipe.epochs}: loss"
            f" {np.mean(progress.losses[-self._steps :]):.4f}, to tune on {loss:.4f}, {accuracy:.1%} right"
        )

    def _tune(self, network: nn.Module) -> None:
        """Note how good it is on the pictures to tune on, and keep it where it is the best so far."""
        progress = self._progress
        logits = self._answers(self.sets.tune)
        truth = self.sets.truth[list(self.sets.tune)]
        loss = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth)))
        progress.tuned.append((loss, float((logits.argmax(axis=1) == truth).mean())))
        if loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = loss, len(progress.tuned) - 1
            if self.workers.is_writer:
                _write(self.folder / "best.pt", network.state_dict())

    def _answers(self, places: Sequence[int]) -> NDArray[np.float32]:
        """The logits of pictures; each worker takes some of them, and all get the same."""
        mine = self.workers.share(np.arange(len(places)))
        said = answers(self.trainee, self.sets.pictures, [places[each] for each in mine], self.recipe.at_once)
        return self.workers.rows(said, int(mine[0]), len(places))

    def _load(self, network: nn.Module, optimizer: torch.optim.SGD) -> None:
        path = self.folder / "state.pt"
        has_one = self.workers.is_writer and path.is_file()
        state: Any = self.workers.told(
            torch.load(path, map_location="cpu", weights_only=True) if has_one else None
        )
        if state is None:
            return
        if state["identity"] != self.identity:
            raise ModelError(f"{path}: of another set or another recipe; remove {self.folder} to begin anew")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load(state["average"])
        self._progress = Progress(**state["progress"])
        self.report(f"goes on after step {self._progress.step}")

    def _save(self, network: nn.Module, optimizer: torch.optim.SGD, *, is_due: bool) -> None:
        """As often as takes a twentieth of the time, and whenever it ends."""
        started_s = time.monotonic()
        if not self.workers.is_writer or (not is_due and started_s < self._save_due_s):
            return
        state = {
            "identity": self.identity,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": self._average.state() if self._average else {},
            "progress": asdict(self._progress),
        }
        _write(self.folder / "state.pt", state)
        ended_s = time.monotonic()
        self._save_due_s = ended_s + (ended_s - started_s) / _SAVING_SHARE


def optimizer_of(network: nn.Module) -> torch.optim.SGD:
    """What takes the steps, for all that learns; a step takes the memory of the largest weight twice more."""
    return torch.optim.SGD(
        [each for each in network.parameters() if each.requires_grad],
        momentum=_MOMENTUM,
        weight_decay=_DECAY,
        nesterov=True,
        foreach=False,  # which would take the memory of all weights once more
    )


def schedule(step: int, steps: int) -> float:
    """What of the rate a step has, of so many: up from 0 to 1 within the first, then down by a cosine."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))


def weights_of(truth: NDArray[np.intp]) -> Tensor:
    """What a picture of each label counts, shape (labels,): more where there are few, by the root of it."""
    counts = np.bincount(truth)
    weights = np.sqrt(counts.mean() / np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32))


def answers(trainee: Trainee, pictures: Pictures, places: Sequence[int], batch: int) -> NDArray[np.float32]:
    """The logits of pictures, shape (pictures, labels), as the daemon sees them."""
    rows, device = [], trainee.last.weight.device
    with as_it_answers(trainee.module), torch.inference_mode():
        for first in range(0, len(places), batch):
            seen = seen_of(trainee, pictures, places[first : first + batch])
            rows.append(trainee.module(seen.to(device)).float().cpu().numpy())
    return np.concatenate(rows)


def seen_of(trainee: Trainee, pictures: Pictures, places: Sequence[int]) -> Tensor:
    """Pictures as the daemon shows them to the network, shape (pictures, 3, crop, crop)."""
    crop = trainee.preprocessing.crop
    return inputs_of([middle(pictures.read(place), crop) for place in places], trainee.preprocessing)


def inputs_of(seen: Sequence[NDArray[np.uint8]], taken: Preprocessing) -> Tensor:
    """Pictures as the network takes them: normalised, shape (pictures, 3, crop, crop), channels last."""
    values = torch.from_numpy(np.stack(seen)).float().div_(255)
    values.sub_(torch.tensor(taken.mean)).div_(torch.tensor(taken.std))
    return values.permute(0, 3, 1, 2)


def _write(path: Path, value: object) -> None:
    """Replace a file by what `torch.load` reads, whole, even if the power fails meanwhile."""
    unfinished = path.with_name(f"{path.name}.new")
    with unfinished.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
