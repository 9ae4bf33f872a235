"""The sounds of files: what their headers say, what compressed tracks hold, and their samples."""
