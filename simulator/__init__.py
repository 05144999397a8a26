"""The density-matrix simulator: any `.seq` in, basis sets and expected signals out."""
