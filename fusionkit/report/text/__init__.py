"""The words of a report: verdicts, tables and sentences."""
