"""Data sets from elsewhere: a researcher's own rasters and tables, and the published data sets of the field."""
