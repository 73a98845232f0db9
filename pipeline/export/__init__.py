"""`cryovox export`: a store's volumes, atoms and frame table as the files that other programs open."""
