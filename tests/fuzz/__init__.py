"""Coverage-guided fuzzing of everything that decodes what came over a link, from a camera or from a disk.

``python -m tests.fuzz TARGET --seconds 60`` (``pip install '.[fuzz]'``); ``--list`` names the targets.
"""
