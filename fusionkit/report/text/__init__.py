"""What a report says: verdicts, tables and sentences."""
