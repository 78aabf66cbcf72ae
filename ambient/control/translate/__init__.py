"""From one object of a file to what it means: one module for each family of kinds."""
