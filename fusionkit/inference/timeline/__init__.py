"""Answers over time: windows in seconds over signals of different clocks, live and of whole recordings."""
