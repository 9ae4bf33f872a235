"""Where the time of a training goes: its steps, stages and whole rounds, and what to change."""
