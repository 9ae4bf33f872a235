"""HTTP itself: who may ask, how much comes, how slowly, and how a refusal is worded."""
