"""What Linux gives: board, clock, files, log, paths, systemd, and the few things that every room needs."""
