"""Commands for a network that is trained: answers, over time and live, served, exported, shared, calibrated."""
