"""Components by name: the registry of each kind, what a recipe says of one, and its options from its signature."""
