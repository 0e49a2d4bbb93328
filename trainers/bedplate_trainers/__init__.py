"""Floor 3: fine-tune and evaluate."""
