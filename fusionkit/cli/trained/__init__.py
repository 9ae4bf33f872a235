"""Commands for a network that is trained: how sure it may be, and the way to others."""
