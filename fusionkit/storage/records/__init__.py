"""The documents that runs and experiments leave, as typed records: each is written and read by one function."""
