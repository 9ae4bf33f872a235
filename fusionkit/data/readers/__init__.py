"""Files to values: sounds, images, arrays, archives and tables, within limits on what they may hold."""
