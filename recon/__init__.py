"""From raw data to metabolite concentrations."""
