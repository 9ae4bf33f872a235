"""The pages of a report: HTML and Markdown from one list of blocks."""
