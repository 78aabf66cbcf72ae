"""The nouns of the mesh, frozen."""
