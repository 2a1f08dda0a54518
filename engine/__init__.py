"""How data moves: store, images, mask generator, release, analysis and evaluation."""
