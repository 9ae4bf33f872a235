"""One optimizer step: the parts that learn, forward pass, terms, gradients, update, and its outcome."""
