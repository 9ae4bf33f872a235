"""Where jobs run: the processes of this machine, and what is installed on it."""
