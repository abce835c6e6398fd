"""The made-up street of the README's picture, and the sensors that see it."""
