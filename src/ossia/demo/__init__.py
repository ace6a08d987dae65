"""The tiny checkpoint that ships with the package, and how it is unpacked."""
