"""What a data set looks like: the tables, figures and traps of notebook 01."""
