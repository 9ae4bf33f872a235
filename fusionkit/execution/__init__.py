"""Where jobs run: this machine, its processes, and what is installed on it."""
