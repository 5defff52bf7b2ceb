"""Many devices: one view of them, and changes to groups of them in waves. Never on a board."""
