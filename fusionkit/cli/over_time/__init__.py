"""Commands that answer over time: of a whole recording, and live."""
