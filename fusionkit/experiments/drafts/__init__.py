"""From a table or a folder of one's own to a recipe and an experiment."""
