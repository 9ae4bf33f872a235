"""What is left on disk: files written in one piece, the folders of runs and experiments, and the documents in them."""
