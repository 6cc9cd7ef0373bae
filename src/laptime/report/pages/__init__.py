"""A document as a page, as Markdown, as text; and its files."""
