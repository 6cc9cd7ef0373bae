"""Where laptime touches torch in a foreign process: one module a kind of boundary.

Each replaces a few attributes of torch's own classes, once, after torch is imported. No module,
tensor or loader of the script is changed, so what it saves and copies is what it always was.
"""
