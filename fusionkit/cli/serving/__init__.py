"""The command that serves a network, with its many options."""
