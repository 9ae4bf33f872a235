"""Reports: tables and figures from the documents that runs and experiments leave, and from nothing else."""
