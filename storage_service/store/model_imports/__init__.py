"""Models made of weights that lie on this machine: which paths may be looked at, what is taken, how it is put in."""
