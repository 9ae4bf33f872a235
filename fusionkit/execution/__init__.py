"""The execution of jobs: the processes of this machine, and what is installed on it."""
