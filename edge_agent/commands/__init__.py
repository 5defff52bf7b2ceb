"""The subcommands of `edge-agent`, a module each: `add_arguments` declares its options, `run` does it."""
