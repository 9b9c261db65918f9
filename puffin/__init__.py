"""The import paths of the Puffin tutorial. Everything is defined in `models`."""
