"""The shape of each kind of object, as it stands in a file: one module for each family of kinds."""
