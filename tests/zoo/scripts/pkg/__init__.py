"""A package with relative imports: python -m pkg.train."""
