"""Validated descriptions of what is to be measured, and the shipped library of them."""
