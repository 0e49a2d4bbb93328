"""How an encoder-decoder writes: settings, beams within bounds, languages of a translation."""
