"""Everything on disk: files in one piece, folders of runs and experiments, and their documents."""
