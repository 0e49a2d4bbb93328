"""Floor 1: what is kept. Models, datasets, their files, cards, licenses and lineage, as plain files."""
