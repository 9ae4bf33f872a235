"""A trained network behind HTTP and a web page."""
