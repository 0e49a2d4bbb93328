"""How a decoder-only model writes: prompts, sampling, continuous and static batches, chat templates."""
