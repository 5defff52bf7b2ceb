"""The outbox: no event is lost while the broker is away, and the SD card is not written while it is there.

An event is first written to a journal in the runtime directory, which lies in memory but outlives the
process: it survives an agent killed at any moment, and costs the SD card nothing. The broker's answer removes
it, usually within milliseconds. Events that are still there after some seconds move to the file on disk,
which survives a power cut. All of them do when the agent ends in good order.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Mapping, Sequence

from edge_agent.config.schema import OutboxConfig
from edge_agent.lean_dataclass import dataclass
from edge_agent.mqtt.contract.payloads import LabelChanged, OutboxPlace, utc
from edge_agent.mqtt.events.row import Row
from edge_agent.mqtt.events.store import MemoryStore, SqliteStore, Store, StoreError
from edge_agent.system.clock import Clock, boot_id
from edge_agent.system.log import RepeatedError
from edge_agent.system.paths import runtime_dir, state_dir
from edge_agent.system.text import encodable

SPILL_AFTER_S = 4.0
"""An event that has waited so long in the journal is written to the disk by the next `tick`: within 5 s."""

_BATCH = 500
_FLUSH_AT = 200
_RETRY_S = 30.0  # between attempts to write to a disk that failed
_LONGEST_DELAY_S = 60.0
_JOURNAL, _DISK, _UNSOUND = "outbox journal", "outbox", "unsound event"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """The size of the outbox; beyond it the oldest events are dropped."""

    max_rows: int
    max_bytes: int


class Outbox:
    """An EventQueue that outlasts the process (see `edge_agent.mqtt.events.queue.EventQueue`).

    `put` is called by the pipeline's thread, `tick` by one of its own, `close` by the main thread, everything
    else by the publisher's.
    No method raises. Where a row may be, what loses it there, what moves it, and which lock protects it:

    ================  ===========  ==============================  ============================  =======
    place             lost with    comes by                        goes by                       lock
    ================  ===========  ==============================  ============================  =======
    journal           the power    `put`                           `remove`; after 4 s `tick`    journal
    memory            the process  `put`, if the journal fails     `remove`; after 4 s `tick`    journal
    disk              -            `tick`, `close`, the start      `remove`: now acknowledged    disk
    disk, acknowl.    -            `remove`                        `tick`, or 200 of them        disk
    ================  ===========  ==============================  ============================  =======

    Beyond the limits `put` drops the oldest row of journal and memory, `tick` the oldest of all. A row is
    written to disk before it leaves the journal. An agent killed in between leaves it in both; the next start
    writes it again, and its `seq` keeps it single. `put` takes the journal's lock alone, and nobody waits for
    the disk while holding that. Whoever needs both locks takes the disk's first.
    """

    def __init__(self, journal: Store, disk: Store, limits: OutboxLimits, clock: Clock, boot: str) -> None:
        """`boot` names the present boot of the machine (`edge_agent.system.clock.boot_id`)."""
        self._journal = journal
        self._disk = disk
        self._memory = MemoryStore()
        self._limits = limits
        self._clock = clock
        self._boot = boot
        self._errors = RepeatedError(_LOG, clock.monotonic_s)
        self._dropped = 0
        self._acknowledged: set[int] = set()
        self._oldest_s: float | None = None
        self._retry_at_s = 0.0
        self._closed = False
        self._journal_lock = threading.Lock()
        self._disk_lock = threading.Lock()
        self._resume()

    @property
    def place(self) -> OutboxPlace:
        """The place of the waiting events; the least safe one if there are several."""
        if self._memory.rows:
            return "memory"
        return "disk" if self._disk.rows and not self._journal.rows else "volatile"

    @property
    def dropped(self) -> int:
        return self._dropped + self._journal.damaged + self._disk.damaged

    @property
    def newest(self) -> int:
        """The highest `seq` that waits; 0 when nothing does. New events must have higher ones."""
        newest = 0
        with self._disk_lock, self._journal_lock:
            for store in (self._disk, self._journal, self._memory):
                try:
                    newest = max(newest, store.newest())
                except StoreError as error:
                    self._errors.report(_DISK, str(error))
        return newest

    def __len__(self) -> int:
        waiting = self._memory.rows + self._journal.rows + self._disk.rows - len(self._acknowledged)
        return max(waiting, 0)

    def put(self, event: LabelChanged) -> None:
        """Keep an event; once this has returned, a killed process does not lose it.

        One that could never be published (its score is no number) is dropped and counted.
        """
        row = self._to_row(event)
        with self._journal_lock:
            if not row.is_sound:
                self._dropped += 1
                self._errors.report(_UNSOUND, "an event that cannot be published was dropped", seq=event.seq)
                return
            self._make_room(row)
            try:
                self._journal.add([row])
            except StoreError as error:
                self._memory.add([row])
                self._errors.report(_JOURNAL, f"{error}; events are kept in the agent's memory only")
            else:
                self._errors.recovered(_JOURNAL, "the outbox's journal can be written again")
            if self._oldest_s is None:
                self._oldest_s = self._clock.monotonic_s()

    def after(self, seq: int) -> LabelChanged | None:
        """Return the oldest event whose `seq` is greater, its time corrected if the clock was set since."""
        with self._disk_lock:  # or a row could move from the journal to the disk between the two
            oldest = self._oldest_on_disk(seq)
            with self._journal_lock:
                oldest += self._early(seq, 1)
        return self._to_event(min(oldest, key=lambda row: row.seq)) if oldest else None

    def remove(self, seq: int) -> None:
        with self._disk_lock:
            with self._journal_lock:
                found = self._forget_early([seq])
            if not found:
                self._acknowledged.add(seq)
                if len(self._acknowledged) >= _FLUSH_AT:
                    self._flush()

    def tick(self) -> None:
        """Move events that have waited too long to disk, and hold the limits."""
        with self._disk_lock:
            if self._closed:
                return
            self._flush()
            waiting_since_s = self._oldest_s
            if waiting_since_s is not None and self._clock.monotonic_s() - waiting_since_s >= SPILL_AFTER_S:
                self._spill()
            self._hold_limits()

    def close(self) -> None:
        """Write all waiting events to disk, and close the files."""
        with self._disk_lock:
            if self._closed:
                return
            self._retry_at_s = 0.0
            self._flush()
            self._spill()
            self._closed = True
            self._disk.close()
        with self._journal_lock:
            self._journal.close()

    def _resume(self) -> None:
        """Take over the events that the last agent left; if it was killed, one may lie in both files."""
        for store in (self._journal, self._disk):
            try:
                store.load()
            except StoreError as error:
                self._errors.report(_DISK, str(error))
        if self._journal.rows:
            self._oldest_s = self._clock.monotonic_s()
            if self._disk.rows:
                self._spill()

    def _make_room(self, row: Row) -> None:
        """Hold the limits in journal and memory, where `tick` may come too late."""
        while (
            self._journal.rows + self._memory.rows >= self._limits.max_rows
            or self._journal.bytes + self._memory.bytes + row.bytes > self._limits.max_bytes
        ):
            oldest = self._early(-1, 1)
            if not oldest or not self._forget_early([min(each.seq for each in oldest)]):
                return
            self._dropped += 1

    def _early(self, seq: int, limit: int) -> list[Row]:
        """Return rows after `seq` not yet on disk: at most `limit` each from journal and memory."""
        try:
            rows = self._journal.after(seq, limit)
        except StoreError as error:
            self._errors.report(_JOURNAL, str(error))
            rows = []
        return rows + self._memory.after(seq, limit)

    def _forget_early(self, seqs: Sequence[int]) -> int:
        try:
            found = self._journal.remove(seqs)
        except StoreError as error:
            self._errors.report(_JOURNAL, str(error))
            found = 0
        found += self._memory.remove(seqs)
        if not self._journal.rows and not self._memory.rows:
            self._oldest_s = None
        return found

    def _oldest_on_disk(self, seq: int) -> list[Row]:
        try:
            while rows := self._disk.after(seq, 1):
                seq = rows[0].seq
                if seq not in self._acknowledged:
                    return rows
        except StoreError as error:
            self._errors.report(_DISK, str(error))
        return []

    def _flush(self) -> None:
        """Delete the acknowledged rows from the disk."""
        if not self._acknowledged or self._clock.monotonic_s() < self._retry_at_s:
            return
        try:
            self._disk.remove(self._acknowledged)
        except StoreError as error:
            self._disk_failed(error)
        else:
            self._acknowledged.clear()

    def _spill(self) -> None:
        """Move everything from the journal and from memory to the disk; new events may come meanwhile."""
        more = self._clock.monotonic_s() >= self._retry_at_s
        while more:
            with self._journal_lock:
                rows = self._early(-1, _BATCH)
            try:
                self._disk.add(rows)
            except StoreError as error:
                self._disk_failed(error)
                return
            self._errors.recovered(_DISK, "the outbox can be written again")
            with self._journal_lock:
                moved = self._forget_early([row.seq for row in rows])
            more = moved >= _BATCH

    def _disk_failed(self, error: StoreError) -> None:
        self._retry_at_s = self._clock.monotonic_s() + _RETRY_S
        self._errors.report(_DISK, f"{error}; until it can be written, events are kept in memory only")

    def _hold_limits(self) -> None:
        while surplus := self._surplus():
            try:
                dropped = self._disk.remove(surplus)
            except StoreError as error:
                self._disk_failed(error)
                return
            with self._journal_lock:
                dropped += self._forget_early(surplus)
                self._dropped += dropped
            if not dropped:
                return

    def _surplus(self) -> list[int]:
        """Return the oldest events, which must go so that the limits hold; at most a batch."""
        with self._journal_lock:
            rows = self._memory.rows + self._journal.rows + self._disk.rows
            size = self._memory.bytes + self._journal.bytes + self._disk.bytes
        if rows <= self._limits.max_rows and size <= self._limits.max_bytes:
            return []
        try:
            oldest = self._disk.after(-1, _BATCH)
        except StoreError as error:
            self._disk_failed(error)
            return []
        if not oldest:
            with self._journal_lock:
                oldest = self._early(-1, _BATCH)
        surplus: list[int] = []
        for row in oldest:
            if rows <= self._limits.max_rows and size <= self._limits.max_bytes:
                break
            rows -= 1
            size -= row.bytes
            surplus.append(row.seq)
        return surplus

    def _to_row(self, event: LabelChanged) -> Row:
        ts_s = event.ts.timestamp()
        delay_s = min(max(self._clock.time_s() - ts_s, 0.0), _LONGEST_DELAY_S)
        return Row(
            seq=event.seq,
            ts_s=ts_s,
            synced=event.ts_synced,
            from_label=encodable(event.from_label),
            to_label=encodable(event.to_label),
            score=float(event.score),
            monotonic_s=self._clock.monotonic_s() - delay_s,
            boot=self._boot,
            region=event.region,
        )

    def _to_event(self, row: Row) -> LabelChanged:
        ts_s, synced = row.ts_s, row.synced
        if not synced and row.boot == self._boot != "" and self._clock.synced():
            ts_s = self._clock.time_s() - (self._clock.monotonic_s() - row.monotonic_s)
            synced = True
        return LabelChanged(
            row.seq, utc(ts_s), synced, row.from_label, row.to_label, row.score, region=row.region
        )


def open_outbox(config: OutboxConfig, clock: Clock, environment: Mapping[str, str]) -> Outbox:
    """Return the outbox of the configuration, with the events that the last run has left in it.

    Its journal is in the service's runtime directory; without one, it is beside the outbox itself.
    """
    path = config.path or state_dir(environment) / "outbox.sqlite3"
    name = f"outbox-{zlib.crc32(bytes(path.absolute())):08x}.sqlite3"
    journal = (runtime_dir(environment) or path.parent) / name
    return Outbox(
        SqliteStore(journal, durable=False),
        SqliteStore(path, durable=True),
        OutboxLimits(config.max_rows, config.max_mb * 1_000_000),
        clock,
        boot_id(),
    )
