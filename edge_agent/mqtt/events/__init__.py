"""Events that must not be lost while the broker is away, or with the power. In reading order:

- `queue`: the queue as the publisher sees it.
- `store`: rows in a SQLite file, or in memory. `row`: what is in one, and whether it is whole.
- `salvage`: the rows that a damaged file still holds.
- `outbox`: the queue, made of three stores.
- `sequence`: numbers for events and states that never repeat.
"""
