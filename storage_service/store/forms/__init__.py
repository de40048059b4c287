"""How each object looks in its file: JSON to record and back, one module per object.

Reading is where every generation of Jan's files becomes one record, so a new generation is understood by
adding it to these functions and nowhere else. Writing has one form, and lays changes over the file's own JSON
(`fields.overlay`), so keys we do not know and units we do not use survive every rewrite.
"""
