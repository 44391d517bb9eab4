"""Look at labelled crops before training: ``python -m train.audit TRAIN --test TEST --schema ...``.

The way of one audit: ``survey`` reads all rows, bad ones too, and ``pictures`` measures every
picture while it is checked; ``duplicates`` (with ``hamming``) finds the same picture twice, also
across splits, ``coverage`` counts labels, ``sizes`` pixels; with a checkpoint, ``suspects`` scores
the crops and ``label_issues`` names labels that are probably wrong. ``findings`` holds it all;
``pages`` and ``lists`` write it down.
"""
