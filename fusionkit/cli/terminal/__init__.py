"""The terminal: tables, JSON, costs and profiles as they are printed, and words for an interruption."""
